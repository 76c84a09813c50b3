'use client';
export { LiveSalesTicker, LiveSalesTicker as default, type LiveSalesTickerProps } from '../panels.js';

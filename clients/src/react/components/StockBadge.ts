'use client';
export { StockBadge, StockBadge as default, type StockBadgeProps } from '../marks.js';

'use client';
export { LiveCustomerCount, LiveCustomerCount as default, type LiveCustomerCountProps } from '../panels.js';

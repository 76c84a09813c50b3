'use client';
export { OrderStatusBadge, OrderStatusBadge as default, type OrderStatusBadgeProps } from '../marks.js';

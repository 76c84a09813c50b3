'use client';
export type { FreshnessLabels, LiveProps } from './frame.js';
export type { WebSocketHandler, WebSocketMethods } from './handle.js';
export {
  type NamespaceState,
  useWebSocket,
  useWebSocketEvent,
  useWebSocketNamespace,
  type WebSocketConnection,
  type WebSocketOptions,
  WebSocketProvider,
  type WebSocketProviderProps,
  type WebSocketState,
} from './hooks.js';
export {
  type CustomerEvent,
  type Live,
  type NotificationEvent,
  type Notifications,
  type Price,
  type Sale,
  type Stock,
  useCustomerActivity,
  useCustomersOnline,
  useNotifications,
  useOrderStatus,
  usePrice,
  useSales,
  useStock,
} from './live.js';
export {
  OrderStatusBadge,
  type OrderStatusBadgeProps,
  PriceTag,
  type PriceTagProps,
  StockBadge,
  type StockBadgeProps,
} from './marks.js';
export {
  LiveCustomerCount,
  type LiveCustomerCountProps,
  LiveSalesTicker,
  type LiveSalesTickerProps,
} from './panels.js';

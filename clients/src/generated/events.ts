// Generated from src/policy/default.json by `npm run generate`. Do not edit.

export type Role = 'admin' | 'manager' | 'staff' | 'customer' | 'guest';

export type Namespace = 'orders' | 'customers' | 'products' | 'inventory' | 'payments' | 'system';

export type OrderStatus = 'pending' | 'processing' | 'shipped' | 'delivered' | 'cancelled';

export type CustomerAction = 'viewing' | 'cart_add' | 'cart_remove' | 'checkout_start' | 'checkout_complete';

export type StockChangeReason = 'sale' | 'restock' | 'adjustment' | 'return';

export type StockSeverity = 'low' | 'critical';

export type PaymentStatus = 'success' | 'pending' | 'failed';

export type Severity = 'info' | 'warning' | 'error' | 'success';

/** `order:created`, of `orders`. A new order was placed. */
export interface OrderCreated {
  orderId: string;
  customerId: string;
  customerName: string;
  total: number;
  status: OrderStatus;
  channel: string;
}

/** `order:updated`, of `orders`. Details of an order changed. */
export interface OrderUpdated {
  orderId: string;
  customerId?: string;
  changes: Record<string, unknown>;
}

/** `order:status_changed`, of `orders`. The status of an order changed. */
export interface OrderStatusChanged {
  orderId: string;
  customerId: string;
  customerName: string;
  oldStatus: OrderStatus;
  newStatus: OrderStatus;
  /** ms since the epoch */
  timestamp: number;
}

/** `order:deleted`, of `orders`. An order was deleted. */
export interface OrderDeleted {
  orderId: string;
  customerId?: string;
}

/** `customer:activity`, of `customers`. A customer did something in the shop. */
export interface CustomerActivity {
  customerId: string;
  customerName?: string;
  action: CustomerAction;
  productId?: string;
  productName?: string;
  /** ms since the epoch */
  timestamp: number;
}

/** `customer:viewing_product`, of `customers`. A customer is looking at a product. */
export interface CustomerViewingProduct {
  customerId: string;
  productId: string;
  productName: string;
  duration?: number;
}

/** `customer:added_to_cart`, of `customers`. A customer put a product into the cart. */
export interface CustomerAddedToCart {
  customerId: string;
  productId: string;
  productName: string;
  quantity: number;
}

/** `customer:online`, of `customers`. A customer came online. The node emits this itself. */
export interface CustomerOnline {
  customerId: string;
  isOnline: boolean;
  /** ms since the epoch */
  lastSeen: number;
}

/** `customer:offline`, of `customers`. A customer went offline. The node emits this itself, after a grace. */
export interface CustomerOffline {
  customerId: string;
  isOnline: boolean;
  /** ms since the epoch */
  lastSeen: number;
}

/** `inventory:updated`, of `inventory`. The stock of a product changed. */
export interface InventoryUpdated {
  productId: string;
  productName: string;
  sku: string;
  oldStock: number;
  newStock: number;
  difference: number;
  reason?: StockChangeReason;
}

/** `inventory:low_stock`, of `inventory`. The stock of a product fell to its threshold or below. */
export interface InventoryLowStock {
  productId: string;
  productName: string;
  sku: string;
  currentStock: number;
  threshold: number;
  severity: StockSeverity;
}

/** `inventory:out_of_stock`, of `inventory`. A product has run out. */
export interface InventoryOutOfStock {
  productId: string;
  productName: string;
  sku: string;
}

/** `inventory:restocked`, of `inventory`. A product was restocked. */
export interface InventoryRestocked {
  productId: string;
  productName: string;
  sku: string;
  newStock: number;
  addedQuantity: number;
}

/** `product:price_changed`, of `products`. The price of a product changed. */
export interface ProductPriceChanged {
  productId: string;
  productName: string;
  sku: string;
  oldPrice: number;
  newPrice: number;
  changePercentage: number;
}

/** `product:created`, of `products`. A new product is for sale. */
export interface ProductCreated {
  productId: string;
  productName: string;
  category: string;
  price: number;
}

/** `product:updated`, of `products`. Details of a product changed. */
export interface ProductUpdated {
  productId: string;
  changes: Record<string, unknown>;
}

/** `product:deleted`, of `products`. A product was deleted. */
export interface ProductDeleted {
  productId: string;
}

/** `payment:received`, of `payments`. A payment came in. */
export interface PaymentReceived {
  paymentId: string;
  orderId: string;
  customerId: string;
  amount: number;
  method: string;
  status: PaymentStatus;
}

/** `payment:failed`, of `payments`. A payment failed. */
export interface PaymentFailed {
  paymentId: string;
  orderId: string;
  customerId: string;
  amount: number;
  reason: string;
  retryable: boolean;
}

/** `payment:refunded`, of `payments`. A payment was refunded. */
export interface PaymentRefunded {
  paymentId: string;
  orderId: string;
  customerId: string;
  amount: number;
  reason?: string;
}

/** `system:notification`, of `system`. A notification for people. */
export interface SystemNotification {
  title: string;
  message: string;
  severity: Severity;
  /** only these roles */
  targetRoles?: Role[];
  actionUrl?: string;
}

/** `system:alert`, of `system`. An alert for people. */
export interface SystemAlert {
  title: string;
  message: string;
  severity: Severity;
  /** only these roles */
  targetRoles?: Role[];
}

/** `system:maintenance`, of `system`. Maintenance is planned or under way. */
export interface SystemMaintenance {
  message: string;
  /** ms since the epoch */
  scheduledAt?: number;
  duration?: number;
}

/** The payload of each event type. */
export interface EventMap {
  'order:created': OrderCreated;
  'order:updated': OrderUpdated;
  'order:status_changed': OrderStatusChanged;
  'order:deleted': OrderDeleted;
  'customer:activity': CustomerActivity;
  'customer:viewing_product': CustomerViewingProduct;
  'customer:added_to_cart': CustomerAddedToCart;
  'customer:online': CustomerOnline;
  'customer:offline': CustomerOffline;
  'inventory:updated': InventoryUpdated;
  'inventory:low_stock': InventoryLowStock;
  'inventory:out_of_stock': InventoryOutOfStock;
  'inventory:restocked': InventoryRestocked;
  'product:price_changed': ProductPriceChanged;
  'product:created': ProductCreated;
  'product:updated': ProductUpdated;
  'product:deleted': ProductDeleted;
  'payment:received': PaymentReceived;
  'payment:failed': PaymentFailed;
  'payment:refunded': PaymentRefunded;
  'system:notification': SystemNotification;
  'system:alert': SystemAlert;
  'system:maintenance': SystemMaintenance;
}

/** The event types of each namespace. */
export interface NamespaceMap {
  orders: 'order:created' | 'order:updated' | 'order:status_changed' | 'order:deleted';
  customers: 'customer:activity' | 'customer:viewing_product' | 'customer:added_to_cart' | 'customer:online' | 'customer:offline';
  products: 'product:price_changed' | 'product:created' | 'product:updated' | 'product:deleted';
  inventory: 'inventory:updated' | 'inventory:low_stock' | 'inventory:out_of_stock' | 'inventory:restocked';
  payments: 'payment:received' | 'payment:failed' | 'payment:refunded';
  system: 'system:notification' | 'system:alert' | 'system:maintenance';
}

/** What a client may publish, by its role. The node itself says who did it. */
export interface PublishMap {
  /** Role `customer`. */
  'customer:activity': Omit<CustomerActivity, 'customerId'> & Partial<Pick<CustomerActivity, 'customerId'>>;
  /** Role `customer`. */
  'customer:viewing_product': Omit<CustomerViewingProduct, 'customerId'> & Partial<Pick<CustomerViewingProduct, 'customerId'>>;
  /** Role `customer`. */
  'customer:added_to_cart': Omit<CustomerAddedToCart, 'customerId'> & Partial<Pick<CustomerAddedToCart, 'customerId'>>;
}

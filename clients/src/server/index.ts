export type { Emitted } from './emitted.js';
export { createEmitter } from './emitter.js';
export { EmitError, type Fault } from './error.js';
export {
  configureEmitter,
  emitCustomerActivity,
  emitEvents,
  emitInventoryEvent,
  emitOrderEvent,
  emitPaymentEvent,
  emitProductEvent,
  emitSystemNotification,
  getEmitter,
  wsEvents,
} from './shared.js';
export { type CustomerInputs, type InventoryInputs, type OrderInputs, type PaymentInputs, type ProductInputs, type ShopEvents, shopEvents, type WsEvents } from './shop.js';
export { createToken, type TokenClaims } from './token.js';
export type * from './types.js';
export type { Catalogue, EventName, ShopCatalogue } from '../client/types.js';
export type * from '../generated/events.js';

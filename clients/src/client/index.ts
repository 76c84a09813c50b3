export { createClient } from './client.js';
export { OmnicastError } from './error.js';
export type { Phase } from './lifecycle.js';
export type { Runtime } from './runtime.js';
export { getSharedClient } from './shared.js';
export type * from './types.js';
export type * from '../generated/events.js';

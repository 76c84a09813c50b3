export type { ChannelLike, LocksLike, TabsRuntime } from './runtime.js';
export { shareAcrossTabs, type TabsClient, type TabsOptions } from './share.js';

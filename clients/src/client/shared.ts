import { createClient } from './client.js';
import { address } from './runtime.js';
import type { Catalogue, ClientOptions, OmnicastClient, ShopCatalogue } from './types.js';

// On the page itself, so that two copies of this module still share one connection.
const KEY = Symbol.for('omnicast.shared');

/**
 * The client of this page for this address: made by the first call, with its options, and the same for
 * every later one. For another user call `authenticate` on it.
 */
export function getSharedClient<C extends Catalogue = ShopCatalogue>(
  options: ClientOptions<C> = {},
): OmnicastClient<C> {
  const page = globalThis as { [KEY]?: Record<string, unknown> };
  const clients = (page[KEY] ??= {});
  return (clients[address(options.url)] ??= createClient(options)) as OmnicastClient<C>;
}

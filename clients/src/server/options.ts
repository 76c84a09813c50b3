// What an emitter may be told, and what is said of a slip in it.

import type { EmitterOptions } from './types.js';

/** All of them: the compiler sees that none is missing. */
const NAMES: { readonly [K in keyof Required<EmitterOptions>]: true } = {
  socketPath: true,
  url: true,
  token: true,
  maxQueue: true,
  maxQueueBytes: true,
  maxBatch: true,
  requestTimeout: true,
  retryFor: true,
  retryInterval: true,
  maxRetryInterval: true,
  onError: true,
};

/** Refuses options that do not exist: events would go to another node than was meant, or at another pace. */
export function checkOptions(options: EmitterOptions): void {
  for (const name of Object.keys(options)) {
    if (Object.hasOwn(NAMES, name)) continue;
    throw new TypeError(`omnicast: there is no option ${name}; there are ${Object.keys(NAMES).join(', ')}`);
  }
  const { socketPath, url } = options;
  if (url === undefined) return;
  if (socketPath !== undefined) throw new TypeError('omnicast: give socketPath or url, not both');
  controlUrl(url);
}

/** The address of a control API. */
export function controlUrl(given: string | URL): URL {
  const text = String(given);
  // `URL` takes `localhost:3102` for one whose scheme is `localhost`.
  if (!/^https?:\/\//i.test(text) || !URL.canParse(text)) {
    throw new TypeError(`omnicast: url must be like http://10.0.0.5:3102, not ${text}`);
  }
  return new URL(text);
}

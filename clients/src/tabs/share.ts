// One tab: its client, as it would be alone, over ports in place of sockets; and its part in who leads.

import { createClient } from '../client/client.js';
import { OmnicastError } from '../client/error.js';
import { address } from '../client/runtime.js';
import type { Catalogue, ClientOptions, OmnicastClient, ShopCatalogue, SocketLike, Status } from '../client/types.js';
import { createLeader, type Leader } from './leader.js';
import { type Down, type Up, VERSION } from './messages.js';
import { type ChannelLike, type TabsRuntime, tabsPlatform } from './runtime.js';

export interface TabsOptions<C extends Catalogue = ShopCatalogue> extends ClientOptions<C> {
  /**
   * Whose connection it is: the id of the user who is signed in, or a name for those who are not. Only tabs
   * of one origin, address and scope share.
   */
  scope: string;
}

/** The client of a tab. */
export interface TabsClient<C extends Catalogue = ShopCatalogue> extends OmnicastClient<C> {
  /** Whether the connection is this tab's at the moment: for what shall be done once in a browser. */
  readonly isLeader: boolean;
}

/** A leader that says nothing for so long is replaced. */
const SILENCE_MS = 10_000;
/** How often a leader that has no connection is asked whether it is still there. */
const AGAIN_MS = 30_000;
/** A port that was closed is replaced within this. */
const RETURN_MS = 20;
/** The leader waits for the node, and its tabs for the leader. */
const FOREVER_MS = 2 ** 31 - 1;

/**
 * The client of this tab. It behaves as one of `createClient` does; of all tabs of this browser with the same
 * `scope` and address, one at a time has a connection. Where the browser cannot share (no Web Locks, which a
 * page that is not secure does not have, or no `BroadcastChannel`), each tab has its own.
 */
export function shareAcrossTabs<C extends Catalogue = ShopCatalogue>(
  options: TabsOptions<C>,
  runtime: TabsRuntime = tabsPlatform(),
): TabsClient<C> {
  const { scope, ...rest } = options;
  // A slip must not make one of all users.
  if (typeof scope !== 'string' || scope === '') throw new TypeError('omnicast: scope is the id of the user; it is missing');
  const { locks, BroadcastChannel: Channel } = runtime;
  return locks && Channel
    ? createTab<C>(rest, scope, { ...runtime, locks, BroadcastChannel: Channel })
    : Object.assign(createClient(rest, runtime), { isLeader: true });
}

type Sharing = TabsRuntime & { readonly [K in 'locks' | 'BroadcastChannel']: NonNullable<TabsRuntime[K]> };

function createTab<C extends Catalogue>(options: ClientOptions<C>, scope: string, runtime: Sharing): TabsClient<C> {
  const { locks } = runtime;
  const room = JSON.stringify(['omnicast', VERSION, address(options.url), scope]);
  let { auth } = options;
  /** The user wants a connection. */
  let isWanted = false;
  let isFrozen = false;
  let user: string | undefined;

  // What follows lives from joining the others to leaving them.
  let membership: AbortController | undefined;
  let channel: ChannelLike | undefined;
  /** This tab, as the others know it. */
  let me = '';
  /** It may speak: the others can tell when it is gone, and it is not about to lead. */
  let isReady = false;
  let stopCandidacy: (() => void) | undefined;
  let leading: Leader | undefined;
  /** Who leads, as far as this tab knows, and how that one's connection stands. */
  let leader: string | undefined;
  let standing: Status | undefined;
  let stopPatience: (() => void) | undefined;

  // --- ports -----------------------------------------------------------------------------------

  let port: Port | undefined;

  class Port implements SocketLike {
    onopen: SocketLike['onopen'] = null;
    onmessage: SocketLike['onmessage'] = null;
    onclose: SocketLike['onclose'] = null;
    onerror: SocketLike['onerror'] = null;
    readonly name = runtime.name();
    isOpen = false;

    constructor() {
      port = this;
      knock();
    }

    send(text: string): void {
      tell({ tab: me, port: this.name, up: 'text', text });
    }

    close(): void {
      if (port === this) port = undefined;
      tell({ tab: me, port: this.name, up: 'close' });
    }

    shut(): void {
      if (port === this) port = undefined;
      this.onclose?.({ code: 1006 } as never);
    }

    hear(text: string): void {
      this.onmessage?.({ data: text } as never);
    }
  }

  /** Asks whoever leads to open the port. */
  function knock(): void {
    if (!port || port.isOpen || !isReady) return;
    calm();
    stopPatience = runtime.timer(SILENCE_MS, () => leading || campaign(true));
    tell({ tab: me, port: port.name, up: 'open' });
  }

  function calm(): void {
    stopPatience?.();
    stopPatience = undefined;
  }

  /** To the leader. As through the channel, it is not there at once where it is this tab. */
  function tell(message: Up): void {
    const self = leading;
    if (self) queueMicrotask(() => leading === self && self.hear(message));
    else if (isReady) channel?.postMessage(message);
  }

  function hear(message: Down): void {
    if (!isReady) return;
    if (message.down === 'lead') {
      const { phase, attempts, retryAt, error } = message.standing;
      calm();
      standing = {
        ...inner.status.getSnapshot(),
        phase,
        attempts,
        retryAt,
        error: error && new OmnicastError(error.code, error.message, error.detail),
      };
      if (leader !== message.by) {
        leader = message.by;
        // Another one leads: it knows nothing of a port that is open, nor perhaps of one that is not.
        if (port?.isOpen) port.shut();
        else knock();
      } else if (port && !port.isOpen) {
        // It waits for the node. That it is still there shall not be taken for granted.
        stopPatience = runtime.timer(AGAIN_MS, knock);
      }
      refresh();
    } else if (port && message.by === leader && message.to.includes(port.name)) {
      if (message.down === 'shut') port.shut();
      else if (message.down === 'text') port.hear(message.text);
      else if (user !== undefined && user !== message.userId) {
        // Nobody is shown what is for somebody else.
        port.hear('{"type":"closing","data":{"code":4002,"reason":"other_user"}}');
      } else {
        user = message.userId;
        port.isOpen = true;
        port.onopen?.({} as never);
      }
    }
  }

  // --- who leads -------------------------------------------------------------------------------

  function join(): void {
    if (membership || !isWanted || isFrozen) return;
    const mine = (membership = new AbortController());
    const { signal } = mine;
    me = runtime.name();
    channel = new runtime.BroadcastChannel(room);
    channel.onmessage = ({ data }) => {
      const message = data as Up | Down;
      if ('down' in message) hear(message);
      else leading?.hear(message);
    };
    // As long as this tab holds its own lock, it is there.
    const hold = () =>
      new Promise<void>((done) => {
        signal.addEventListener('abort', () => done());
        isReady = true;
        campaign(false);
        knock();
      });
    locks.request(room + me, { signal }, () => (signal.aborted ? undefined : hold())).catch(() => {});
  }

  /** Waits to lead; or takes it from whoever does. */
  function campaign(steal: boolean): void {
    stopCandidacy?.();
    const mine = new AbortController();
    const { signal } = mine;
    stopCandidacy = () => mine.abort();
    // Who is about to lead has nothing to hear from whoever did.
    if (steal) isReady = false;
    const hold = () =>
      new Promise<void>((done) => {
        signal.addEventListener('abort', () => done());
        lead();
      });
    locks
      .request(room, steal ? { steal } : { signal }, () => (signal.aborted ? undefined : hold()))
      .catch(() => {})
      .then(() => {
        // It was taken away.
        if (signal.aborted) return;
        resign();
        campaign(false);
      });
  }

  function lead(): void {
    const by = runtime.name();
    isReady = true;
    const post = (message: Down) => {
      channel?.postMessage(message);
      queueMicrotask(() => hear(message));
    };
    const whenGone = (tab: string, signal: AbortSignal, gone: () => void) =>
      void locks.request(room + tab, { signal }, () => void (signal.aborted || gone())).catch(() => {});
    leading = createLeader(options as ClientOptions, auth, runtime, by, post, whenGone, (text) => {
      if (port) port.hear(text);
      else console.error(`omnicast: ${text}`);
    });
    post({ by, down: 'lead', standing: { phase: 'idle', attempts: 0, retryAt: null, error: null } });
  }

  function resign(): void {
    const old = leading;
    leading = undefined;
    old?.end();
  }

  /** The others go on without this tab. */
  function leave(): void {
    if (!membership) return;
    calm();
    resign();
    stopCandidacy?.();
    stopCandidacy = undefined;
    membership.abort();
    membership = undefined;
    isReady = false;
    leader = standing = undefined;
    channel?.close();
    channel = undefined;
    port?.shut();
  }

  runtime.onFreeze(
    () => {
      isFrozen = true;
      leave();
    },
    () => {
      isFrozen = false;
      join();
    },
  );

  // --- what the user sees ----------------------------------------------------------------------

  const inner = createClient<C>(
    {
      ...options,
      // The leader knows who this is.
      auth: () => 'shared',
      reconnect: true,
      reconnectInterval: RETURN_MS,
      maxReconnectInterval: RETURN_MS,
      maxReconnectAttempts: undefined,
      connectTimeout: FOREVER_MS,
      WebSocket: Port,
    },
    runtime,
  );

  const listeners = new Set<{ readonly handler: (status: Status) => void }>();
  let snapshot = inner.status.getSnapshot();

  /** While there is no connection, its state is that of the leader's. */
  function refresh(): void {
    const own = inner.status.getSnapshot();
    const isAway = own.phase === 'connecting' || own.phase === 'authenticating' || own.phase === 'waiting';
    let status = own;
    if (isAway && standing && ['connecting', 'authenticating', 'waiting'].includes(standing.phase)) {
      const { phase, attempts, retryAt, error } = standing;
      status = { ...own, phase, attempts, retryAt, error };
    }
    if ((Object.keys(status) as (keyof Status)[]).every((key) => status[key] === snapshot[key])) return;
    snapshot = status;
    for (const { handler } of [...listeners]) {
      try {
        handler(status);
      } catch (cause) {
        console.error(new OmnicastError('handler', `status: ${cause}`, {}, cause));
      }
    }
  }

  inner.on('status', refresh);

  function onStatus(handler: (status: Status) => void): () => void {
    const listener = { handler };
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }

  function connect() {
    isWanted = true;
    join();
    return inner.connect();
  }

  function wake(): void {
    tell({ tab: me, port: '', up: 'wake' });
    inner.wake();
  }

  return {
    ...inner,
    get position() {
      return inner.position;
    },
    get isLeader() {
      return leading !== undefined;
    },
    status: {
      getSnapshot: () => snapshot,
      subscribe: (listener) => onStatus(() => listener()),
    },
    connect,
    disconnect() {
      isWanted = false;
      inner.disconnect();
      leave();
    },
    async authenticate(fresh) {
      if (!fresh) {
        if (!inner.status.getSnapshot().session) {
          wake();
          return connect();
        }
        await inner.send('renew');
        return inner.authenticate();
      }
      auth = fresh;
      if (!membership) return connect();
      // Who has the newest credential leads.
      if (leading) leading.authenticate(fresh);
      else campaign(true);
      return inner.authenticate(() => 'shared');
    },
    wake,
    on: (name, handler) => (name === 'status' ? onStatus(handler as (status: Status) => void) : inner.on(name, handler)),
    off(name, handler) {
      if (name !== 'status') return inner.off(name, handler);
      for (const one of listeners) if (!handler || one.handler === (handler as unknown)) listeners.delete(one);
    },
  };
}


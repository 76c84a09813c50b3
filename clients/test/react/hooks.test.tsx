import { getSharedClient } from 'omnicast';
import {
  useWebSocket,
  useWebSocketEvent,
  useWebSocketNamespace,
  type WebSocketConnection,
  type WebSocketOptions,
  WebSocketProvider,
} from 'omnicast/react';
import { useEffect } from 'react';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Stage } from './stage.js';

let stage: Stage;

beforeEach(() => {
  stage = new Stage();
});

afterEach(() => stage.end());

const seen: WebSocketConnection[] = [];

function User(options: WebSocketOptions) {
  const ws = useWebSocket(options);
  useEffect(() => {
    seen.push(ws);
  }, [ws]);
  return ws.isConnected ? 'Connected' : 'Disconnected';
}

const latest = () => seen.at(-1) as WebSocketConnection;

const identity = (rest: object = {}) => ({
  userId: 'u1',
  role: 'admin',
  sessionId: `s${Math.random()}`,
  expiresAt: Date.now() + Math.random() * 1e9,
  ...rest,
});

describe('useWebSocket', () => {
  it('opens one socket under StrictMode, and tells its state', async () => {
    await stage.show(<User {...stage.options} />);
    expect(stage.world.sockets).toHaveLength(1);
    expect(latest()).toMatchObject({ isConnecting: true, isConnected: false, isAuthenticated: false, isReady: false });
    await stage.node(() => stage.world.socket.open());
    expect(latest()).toMatchObject({ isConnecting: true, isConnected: true, isAuthenticated: false });
    await stage.node(() => stage.world.socket.welcome());
    expect(latest()).toMatchObject({
      isConnecting: false,
      isConnected: true,
      isAuthenticated: true,
      isReady: true,
      error: null,
      reconnectAttempts: 0,
      session: { userId: 'u1' },
    });
    expect(stage.text).toBe('Connected');
    await stage.node(() => stage.world.socket.shut());
    expect(latest()).toMatchObject({ isConnected: false, isReady: false, reconnectAttempts: 1 });
    expect(latest().error?.code).toBe('connection_lost');
  });

  it('shares one connection, and one user, among components with the same options', async () => {
    const options = { ...stage.options, auth: undefined };
    const page = (one: object, two: object) => (
      <>
        <User {...options} auth={identity(one)} namespaces={['orders']} />
        <User {...options} auth={identity(two)} namespaces={['products', 'orders']} />
      </>
    );
    await stage.show(page({}, {}));
    await stage.accept();
    expect(stage.world.sockets).toHaveLength(1);
    expect(stage.world.socket.all('subscribe').map(({ data }) => data)).toEqual([{ namespaces: ['orders', 'products'] }]);
    // An expiry or a session made anew with each render is no other user.
    await stage.show(page({}, {}));
    expect(stage.world.sockets).toHaveLength(1);
    await stage.show(page({ userId: 'u2' }, { userId: 'u2' }));
    expect(stage.world.sockets).toHaveLength(2);
  });

  it('disconnects a moment after its last user is gone', async () => {
    await stage.show(<User {...stage.options} />);
    await stage.accept();
    const { socket } = stage.world;
    await stage.show(null);
    await stage.show(<User {...stage.options} key="another view" />);
    await stage.settle(5_000);
    expect(socket.closed).toBeUndefined();
    await stage.show(null);
    await stage.settle(500);
    expect(socket.closed).toBeUndefined();
    await stage.settle(1_000);
    expect(socket.closed).toBe(1000);
    await stage.show(<User {...stage.options} />);
    expect(stage.world.sockets).toHaveLength(2);
  });

  it('is the same object until the state changes', async () => {
    await stage.show(<User {...stage.options} />);
    await stage.accept();
    const before = latest();
    await stage.show(<User {...stage.options} />);
    await stage.node(() => stage.world.socket.event('1'));
    expect(latest()).toBe(before);
  });

  it('connects only when told to, if so wished', async () => {
    await stage.show(<User {...stage.options} autoConnect={false} />);
    expect(stage.world.sockets).toHaveLength(0);
    await stage.node(() => void latest().connect());
    await stage.accept();
    expect(stage.text).toBe('Connected');
    expect(stage.world.socket.last('auth').data).toEqual({ token: 'token' });
  });

  it('stays disconnected, whoever is mounted meanwhile', async () => {
    await stage.show(<User {...stage.options} />);
    await stage.accept();
    await stage.node(() => latest().disconnect());
    await stage.show(
      <>
        <User {...stage.options} />
        <User {...stage.options} />
      </>,
    );
    expect(stage.world.sockets).toHaveLength(1);
    await stage.node(() => void latest().connect());
    expect(stage.world.sockets).toHaveLength(2);
  });

  it('asks the latest function for a credential', async () => {
    let asked = '';
    const page = (name: string) => (
      <User
        {...stage.options}
        auth={() => {
          asked += name;
          return `token ${name}`;
        }}
      />
    );
    await stage.show(page('a'));
    await stage.accept();
    await stage.show(page('b'));
    expect(stage.world.sockets).toHaveLength(1);
    await stage.node(() => stage.world.socket.shut(), 2_000);
    await stage.accept();
    expect(asked).toBe('ab');
    expect(stage.world.socket.last('auth').data).toEqual({ token: 'token b' });
  });

  it('waits for somebody to say who is signed in, and ends with a sign-out', async () => {
    const { url, WebSocket } = stage.options;
    const page = (auth: string | null | undefined) => (
      <>
        <User url={url} WebSocket={WebSocket} />
        <User url={url} auth={auth} />
      </>
    );
    await stage.show(page(undefined));
    expect(latest().error?.code).toBe('no_credential');
    await stage.show(page('token'));
    await stage.accept();
    expect(latest().isReady).toBe(true);
    await stage.show(page(null));
    expect(stage.world.socket.closed).toBe(1000);
    expect(latest()).toMatchObject({ isConnected: false, error: { code: 'no_credential' } });
  });

  it('signs in as somebody else when told to, though the option stays', async () => {
    await stage.show(<User {...stage.options} />);
    await stage.accept();
    await stage.node(() => void latest().authenticate('another'));
    await stage.accept();
    expect(stage.world.sockets).toHaveLength(2);
    expect(stage.world.socket.last('auth').data).toEqual({ token: 'another' });
    await stage.settle(5_000);
    expect(stage.world.sockets).toHaveLength(2);
  });

  it('lets later options count', async () => {
    await stage.show(
      <>
        <User {...stage.options} />
        <User url={stage.url} maxReconnectAttempts={0} />
      </>,
    );
    await stage.accept();
    const told: string[] = [];
    latest().on('error', ({ code }) => told.push(code));
    await stage.node(() => stage.world.socket.shut());
    expect(latest().status.phase).toBe('closed');
    expect(told).toEqual(['connection_lost']);
  });

  it('shares the connection of code that is no component', async () => {
    const client = getSharedClient(stage.options);
    await stage.show(<User url={stage.url} />);
    await stage.accept();
    expect(latest().client).toBe(client);
    expect(client.status.getSnapshot().phase).toBe('live');
  });
});

describe('what a component subscribes and listens to', () => {
  it('gets the payload and the event, and ends with the component', async () => {
    const got: unknown[] = [];
    function Listener() {
      const ws = useWebSocket({ ...stage.options, namespaces: ['orders'] });
      useEffect(() => {
        ws.on('order:deleted', (data, event) => got.push([data.orderId, event.id]));
        ws.on('orders', (data, event) => got.push([event.type, data]));
        ws.on('gap', (gap) => got.push(gap.reason));
      }, [ws]);
      return null;
    }
    await stage.show(<Listener />);
    await stage.accept();
    got.length = 0;
    const { socket } = stage.world;
    await stage.node(() => socket.event('1'));
    expect(new Set(got.map((one) => JSON.stringify(one)))).toEqual(
      new Set(['["o1","1"]', '["order:deleted",{"orderId":"o1"}]']),
    );
    got.length = 0;
    await stage.show(<User {...stage.options} />);
    expect(socket.last('unsubscribe').data).toEqual({ namespaces: ['orders'] });
    await stage.node(() => socket.event('2'));
    expect(got).toEqual([]);
  });

  it('is its own: nobody takes away what another one has', async () => {
    await stage.show(
      <>
        <User {...stage.options} namespaces={['orders']} key="a" />
        <User {...stage.options} key="b" />
      </>,
    );
    await stage.accept();
    const b = latest();
    const { socket } = stage.world;
    const got: string[] = [];
    const other = b.client.on('order:deleted', () => got.push('other'));
    await stage.node(() => {
      b.subscribe(['orders', 'payments'], { keys: ['x', 'y'] });
      b.on('order:deleted', () => got.push('mine'));
    });
    expect(socket.last('subscribe').data).toEqual({ namespaces: ['payments'], keys: ['x', 'y'] });
    await stage.confirm();
    await stage.node(() => b.unsubscribe(['orders', 'payments'], { keys: ['x'] }));
    expect(socket.last('subscribe').data).toEqual({ namespaces: ['payments'], keys: ['y'] });
    await stage.node(() => b.unsubscribe(['orders', 'payments']));
    expect(socket.last('unsubscribe').data).toEqual({ namespaces: ['payments'] });
    b.off('order:deleted');
    await stage.node(() => socket.event('1'));
    expect(got).toEqual(['other']);
    other();
  });

  it('says when a subscription is confirmed, and when it is refused', async () => {
    await stage.show(<User {...stage.options} />);
    await stage.accept({ namespaces: ['orders'] });
    const refused: unknown[] = [];
    latest().on('error', ({ code }) => refused.push(code));
    let done = false;
    await stage.node(() => latest().subscribe('orders').ready.then(() => (done = true)));
    expect(done).toBe(false);
    await stage.confirm();
    expect(done).toBe(true);
    await stage.node(() => latest().subscribe('payments').ready.catch(({ code }) => refused.push(code)));
    expect(refused).toEqual(['forbidden_namespace', 'forbidden_namespace']);
  });
});

describe('a provider', () => {
  it('gives its connection, and decides when to connect', async () => {
    await stage.show(
      <WebSocketProvider client={stage.world.client()} autoConnect={false} namespaces={['orders']}>
        <User />
      </WebSocketProvider>,
    );
    expect(stage.world.sockets).toHaveLength(0);
    await stage.node(() => void latest().connect());
    await stage.accept();
    expect(stage.text).toBe('Connected');
    expect(stage.world.socket.last('subscribe').data).toEqual({ namespaces: ['orders'] });
  });

  it('leaves another address alone', async () => {
    const inner = new Stage();
    await stage.show(
      <WebSocketProvider {...stage.options}>
        <User {...inner.options} />
        <User url={stage.url} />
      </WebSocketProvider>,
    );
    expect(stage.world.sockets).toHaveLength(1);
    expect(inner.world.sockets).toHaveLength(1);
    inner.host.remove();
  });
});

describe('useWebSocketEvent', () => {
  it('subscribes to what it needs, and calls the latest handler', async () => {
    const got: string[] = [];
    function Listener({ name, deps }: { name: string; deps?: unknown[] }) {
      useWebSocketEvent('order:deleted', ({ orderId }, { id }) => got.push(`${name} ${orderId} ${id}`), deps);
      return null;
    }
    const page = (name: string, deps?: unknown[]) => (
      <WebSocketProvider {...stage.options}>
        <Listener name={name} {...(deps && { deps })} />
      </WebSocketProvider>
    );
    await stage.show(page('a'));
    await stage.accept();
    const { socket } = stage.world;
    expect(socket.all('subscribe').map(({ data }) => data)).toEqual([{ namespaces: ['orders'] }]);
    await stage.node(() => socket.event('1'));
    await stage.show(page('b'));
    await stage.node(() => socket.event('2'));
    expect(got).toEqual(['a o1 1', 'b o2 2']);
    expect(socket.all('subscribe')).toHaveLength(1);
  });

  it('keeps the handler of its deps', async () => {
    const got: string[] = [];
    function Listener({ name, dep }: { name: string; dep: number }) {
      useWebSocketEvent('order:deleted', () => got.push(name), [dep]);
      return null;
    }
    const page = (name: string, dep: number) => (
      <WebSocketProvider {...stage.options}>
        <Listener name={name} dep={dep} />
      </WebSocketProvider>
    );
    await stage.show(page('a', 1));
    await stage.accept();
    await stage.show(page('b', 1));
    await stage.node(() => stage.world.socket.event('1'));
    await stage.show(page('c', 2));
    await stage.node(() => stage.world.socket.event('2'));
    expect(got).toEqual(['a', 'c']);
  });

  it('hears what is addressed to a role that may not subscribe', async () => {
    const got: string[] = [];
    function Listener() {
      useWebSocketEvent('system:notification', ({ title }) => got.push(title));
      useWebSocketEvent('status', ({ phase }) => got.push(phase));
      useWebSocketEvent('products', (_, { type }) => got.push(type));
      return null;
    }
    const page = (
      <WebSocketProvider client={stage.world.client()}>
        <Listener />
      </WebSocketProvider>
    );
    await stage.show(page);
    await stage.accept({ namespaces: ['products'] });
    const { socket } = stage.world;
    expect(socket.all('subscribe').map(({ data }) => data)).toEqual([{ namespaces: ['products'] }]);
    const data = { title: 'Hello', message: '', severity: 'info' };
    await stage.node(() => socket.event('1', { type: 'system:notification', namespace: 'system', data }));
    expect(got.filter((one) => one === 'Hello')).toHaveLength(1);
    await stage.node(() => stage.world.comeBack({ namespaces: ['products', 'system'] }));
    expect(stage.world.socket.all('subscribe').map(({ data: { namespaces } }) => namespaces)).toContainEqual(['system']);
  });
});

describe('useWebSocketNamespace', () => {
  it('subscribes, to some entities where wished, and says how it stands', async () => {
    const states: unknown[] = [];
    function Orders({ keys }: { keys?: string[] }) {
      states.push(useWebSocketNamespace('orders', { keys }));
      return null;
    }
    const page = (keys?: string[]) => (
      <WebSocketProvider client={stage.world.client()}>
        <Orders {...(keys && { keys })} />
      </WebSocketProvider>
    );
    await stage.show(page(['a']));
    await stage.node(() => stage.world.accept());
    const { socket } = stage.world;
    expect(socket.last('subscribe').data).toEqual({ namespaces: ['orders'], keys: ['a'] });
    expect(states.at(-1)).toEqual({ isSubscribed: false, isReady: false, error: null });
    await stage.confirm();
    expect(states.at(-1)).toEqual({ isSubscribed: true, isReady: true, error: null });
    await stage.node(() => socket.shut());
    expect(states.at(-1)).toEqual({ isSubscribed: true, isReady: false, error: null });
  });

  it('says why there is no subscription', async () => {
    let state: ReturnType<typeof useWebSocketNamespace> | undefined;
    function Payments() {
      state = useWebSocketNamespace('payments');
      return null;
    }
    const client = stage.world.client();
    await stage.show(
      <WebSocketProvider client={client}>
        <Payments />
      </WebSocketProvider>,
    );
    await stage.accept({ namespaces: ['orders'] });
    expect(state).toMatchObject({ isSubscribed: false, error: { code: 'forbidden_namespace' } });
    expect(client.errors).toEqual(['forbidden_namespace']);
  });
});

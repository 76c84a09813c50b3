// The place the client runs in.
import { type ClientOptions, getSharedClient } from 'omnicast';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { address } from '../../src/client/runtime.js';

describe('the address', () => {
  afterEach(() => {
    vi.unstubAllGlobals();
  });

  it('is made of what there is', () => {
    expect(address('ws://h:1/api/ws')).toBe('ws://h:1/api/ws');
    expect(address('https://h')).toBe('wss://h/api/ws');
    expect(address(new URL('http://h:3001/'))).toBe('ws://h:3001/api/ws');
    expect(address('wss://h/other')).toBe('wss://h/other');
  });

  it('needs no URL of the platform for a whole address: that of React Native refuses `ws:`', () => {
    vi.stubGlobal('URL', undefined);
    expect(address('wss://h/api/ws')).toBe('wss://h/api/ws');
    expect(address('https://h')).toBe('wss://h/api/ws');
  });
});

describe('a shared client', () => {
  it('is one per address', () => {
    const options: ClientOptions = { url: 'ws://shared-a', auth: 't' };
    const one = getSharedClient(options);
    expect(getSharedClient({ url: 'ws://shared-a/api/ws' })).toBe(one);
    expect(getSharedClient({ url: 'ws://shared-b' })).not.toBe(one);
  });
});

describe('in a browser', () => {
  afterEach(() => {
    vi.unstubAllGlobals();
  });

  it('hears of a wake from the page, and lets go of it', async () => {
    const page = new EventTarget();
    const tab = Object.assign(new EventTarget(), { visibilityState: 'hidden' });
    const line = new EventTarget();
    vi.stubGlobal('addEventListener', page.addEventListener.bind(page));
    vi.stubGlobal('document', tab);
    vi.stubGlobal('navigator', { connection: line });
    const { platform } = await import('../../src/client/runtime.js');
    const call = vi.fn();
    const stop = platform().onWake(call);
    page.dispatchEvent(new Event('online'));
    page.dispatchEvent(new Event('offline'));
    page.dispatchEvent(new Event('pageshow'));
    line.dispatchEvent(new Event('change'));
    tab.dispatchEvent(new Event('visibilitychange'));
    expect(call).toHaveBeenCalledTimes(4);
    tab.visibilityState = 'visible';
    tab.dispatchEvent(new Event('visibilitychange'));
    expect(call).toHaveBeenCalledTimes(5);
    stop();
    page.dispatchEvent(new Event('online'));
    tab.dispatchEvent(new Event('visibilitychange'));
    expect(call).toHaveBeenCalledTimes(5);
  });
});

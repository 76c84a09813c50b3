import { OmnicastError } from 'omnicast';
import { beforeEach, describe, expect, it } from 'vitest';
import { type Command, createFeed, type Feed, isNewer } from '../../src/client/feed.js';

const ALL = ['orders', 'products', 'system'];

let out: string[];
let feed: Feed;

function make(since?: unknown): Feed {
  out = [];
  return createFeed(
    {
      event: (event) => out.push(event.id),
      gap: (gap) => out.push(`gap ${gap.namespaces} ${gap.reason} ${gap.since.id}`),
      recovered: (recovered) => out.push(`recovered ${recovered.namespaces} ${recovered.replayed}`),
      refused: (error) => out.push(`refused ${error.code}`),
    },
    since as never,
  );
}

const claim = (namespace: string, ...keys: string[]) =>
  feed.claim(namespace, keys.length > 0 ? keys : undefined, () => {});
const open = (lastEventId = '0', epoch = 'e1', user = 'u1', allowed = ALL) =>
  feed.open(epoch, lastEventId, allowed, user);
const event = (...ids: string[]) => {
  for (const id of ids) feed.event({ type: 'order:deleted', namespace: 'orders', data: {}, timestamp: 1, id });
};
const plan = () => feed.plan().map(({ type, data }) => ({ type, ...data }));
const answer = (command: Command | undefined, lastEventId: string, rest: object = {}) =>
  feed.answered(command as Command, { lastEventId, ...rest });
const recovered = { recovered: true };

/** Live, with these commands answered, at this position. */
function live(lastEventId = '0'): void {
  open(lastEventId);
  for (const command of feed.plan()) answer(command, lastEventId);
}

beforeEach(() => {
  feed = make();
});

describe('what is asked for', () => {
  it('is nothing before there is a connection', () => {
    claim('orders');
    expect(plan()).toEqual([]);
  });

  it('is one command for all namespaces that are alike', () => {
    claim('orders');
    claim('products');
    claim('system', 'a');
    open();
    expect(plan()).toEqual([
      { type: 'subscribe', namespaces: ['orders', 'products'] },
      { type: 'subscribe', namespaces: ['system'], keys: ['a'] },
    ]);
    expect(plan()).toEqual([]);
  });

  it('is the union of all who ask', () => {
    claim('orders', 'b');
    claim('orders', 'a', 'b');
    open();
    expect(plan()).toEqual([{ type: 'subscribe', namespaces: ['orders'], keys: ['a', 'b'] }]);
    const all = claim('orders');
    expect(plan()).toEqual([{ type: 'subscribe', namespaces: ['orders'] }]);
    feed.release([all]);
    expect(plan()).toEqual([{ type: 'subscribe', namespaces: ['orders'], keys: ['a', 'b'] }]);
  });

  it('ends when nobody asks any more', () => {
    const one = claim('orders');
    const two = claim('orders');
    live();
    feed.release([one]);
    expect(plan()).toEqual([]);
    feed.release([two]);
    expect(plan()).toEqual([{ type: 'unsubscribe', namespaces: ['orders'] }]);
  });

  it('does not change for one who leaves and is back in the same turn', () => {
    const one = claim('orders');
    live('5');
    feed.release([one]);
    claim('orders');
    expect(plan()).toEqual([]);
    feed.shut();
    open('9');
    expect(plan()).toMatchObject([{ since: { id: '5' } }]);
  });

  it('can be taken out by name and key', () => {
    claim('orders', 'a', 'b');
    claim('orders', 'b');
    claim('products');
    open();
    feed.plan();
    feed.releaseAll(['orders', 'products'], ['b']);
    expect(plan()).toEqual([{ type: 'subscribe', namespaces: ['orders'], keys: ['a'] }]);
    feed.releaseAll(['orders', 'products'], undefined);
    expect(plan()).toEqual([{ type: 'unsubscribe', namespaces: ['orders', 'products'] }]);
  });

  it('leaves out what the role may not see, and says so once', () => {
    claim('orders');
    claim('payments');
    open();
    expect(plan()).toEqual([{ type: 'subscribe', namespaces: ['orders'] }]);
    expect(plan()).toEqual([]);
    expect(out).toEqual(['refused forbidden_namespace']);
    open();
    expect(out).toHaveLength(1);
  });

  it('follows a role that changes on the live connection', () => {
    claim('orders');
    claim('payments');
    live();
    out.length = 0;
    feed.renew('3', ['payments']);
    expect(plan()).toEqual([{ type: 'subscribe', namespaces: ['payments'] }]);
    expect(out).toEqual(['refused forbidden_namespace']);
  });

  it('is asked for again after a refusal that will pass', () => {
    claim('orders');
    const gone = claim('products');
    live();
    feed.release([gone]);
    claim('system');
    const [leave, join] = feed.plan();
    const busy = new OmnicastError('rate_limited', '', { retryable: true });
    expect(feed.refused(leave as Command, busy)).toBe(false);
    expect(feed.refused(join as Command, busy)).toBe(false);
    expect(plan()).toEqual([
      { type: 'unsubscribe', namespaces: ['products'] },
      { type: 'subscribe', namespaces: ['system'] },
    ]);
    expect(out).toEqual([]);
  });

  it('is not asked for again after one that will not', () => {
    claim('orders');
    open();
    const [command] = feed.plan();
    expect(feed.refused(command as Command, new OmnicastError('bad_message', 'no'))).toBe(false);
    expect(plan()).toEqual([]);
    expect(out).toEqual(['refused bad_message']);
  });

  it('is asked for without what the role lost meanwhile', () => {
    claim('orders');
    claim('products');
    open();
    const [command] = feed.plan();
    feed.renew('0', ['products']);
    expect(feed.refused(command as Command, new OmnicastError('forbidden_namespace'))).toBe(true);
    expect(plan()).toEqual([{ type: 'subscribe', namespaces: ['products'] }]);
    expect(out).toEqual(['refused forbidden_namespace']);
  });
});

describe('the position', () => {
  it('is that of the welcome, of an answer, of an event, whichever is newest', () => {
    claim('orders');
    open('3');
    expect(feed.position()).toEqual({ epoch: 'e1', id: '3' });
    const [command] = feed.plan();
    answer(command, '5');
    expect(feed.position()?.id).toBe('5');
    event('9');
    expect(feed.position()?.id).toBe('9');
    event('10');
    expect(feed.position()?.id).toBe('10');
    feed.renew('12', ALL);
    expect(feed.position()?.id).toBe('12');
  });

  it('compares as numbers of any size', () => {
    expect(isNewer('10', '9')).toBe(true);
    expect(isNewer('9', '10')).toBe(false);
    expect(isNewer('9007199254740993', '9007199254740992')).toBe(true);
    expect(isNewer('5', '5')).toBe(false);
  });

  it('of a quiet connection is refreshed, at the least cost', () => {
    claim('orders', 'a', 'b');
    claim('products', 'p');
    live('5');
    expect(feed.refresh()).toBeUndefined();
    const command = feed.refresh();
    expect(command).toMatchObject({ type: 'subscribe', data: { namespaces: ['products'], keys: ['p'] } });
    answer(command, '900');
    expect(feed.position()?.id).toBe('900');
    event('901');
    expect(feed.refresh()).toBeUndefined();
  });

  it('is not refreshed where there is nothing to ask, or something under way', () => {
    open('5');
    feed.refresh();
    expect(feed.refresh()).toBeUndefined();
    claim('orders');
    feed.plan();
    expect(feed.refresh()).toBeUndefined();
  });
});

describe('a return', () => {
  it('asks for what was missed, and hands it on in order, once', () => {
    claim('orders');
    live();
    event('1', '2');
    feed.shut();
    open('6');
    const [command] = feed.plan();
    expect(command?.data.since).toEqual({ epoch: 'e1', id: '2' });
    expect(feed.isWhole()).toBe(false);
    answer(command, '6', recovered);
    event('2', '3', '5');
    expect(feed.isWhole()).toBe(false);
    feed.caughtUp({ namespaces: ['orders'], replayed: 2 });
    expect(feed.isWhole()).toBe(true);
    expect(feed.position()?.id).toBe('6');
    event('5', '7');
    expect(out).toEqual(['1', '2', '3', '5', 'recovered orders 2', '7']);
  });

  it('without anything missed goes on', () => {
    claim('orders');
    live('4');
    feed.shut();
    open('4');
    const [command] = feed.plan();
    expect(command?.data.since?.id).toBe('4');
    answer(command, '4', recovered);
    feed.caughtUp({ namespaces: ['orders'], replayed: 0 });
    event('5');
    expect(out).toEqual(['recovered orders 0', '5']);
  });

  it('gives an event that came early its place among those replayed', () => {
    claim('orders');
    live();
    event('1');
    feed.shut();
    open('4');
    const [command] = feed.plan();
    // Addressed to this user: it needs no subscription.
    event('5');
    expect(out).toEqual(['1']);
    answer(command, '6', recovered);
    event('3', '6');
    expect(out).toEqual(['1', '3', '5', '6']);
    feed.caughtUp({ namespaces: ['orders'], replayed: 2 });
    expect(out.at(-1)).toBe('recovered orders 2');
  });

  it('that breaks in the middle goes on from where it was', () => {
    claim('orders');
    live();
    event('1');
    feed.shut();
    open('9');
    const [first] = feed.plan();
    answer(first, '9', recovered);
    event('2', '3');
    feed.shut();
    open('9');
    const [again] = feed.plan();
    expect(again?.data.since?.id).toBe('3');
    answer(again, '9', recovered);
    event('4');
    feed.caughtUp({ namespaces: ['orders'], replayed: 1 });
    expect(out).toEqual(['1', '2', '3', '4', 'recovered orders 1']);
  });

  it('that breaks before any answer begins again', () => {
    claim('orders');
    live();
    event('1');
    feed.shut();
    for (let i = 0; i < 5; i += 1) {
      open('9');
      expect(feed.plan()[0]?.data.since?.id).toBe('1');
      event('8');
      feed.shut();
    }
    expect(out).toEqual(['1']);
  });

  it('is one replay also where keys differ: of all, then narrowed', () => {
    claim('orders');
    claim('products', 'p');
    claim('system', 'p');
    live();
    event('1');
    feed.shut();
    open('9');
    expect(plan()).toEqual([
      { type: 'subscribe', namespaces: ['orders', 'products', 'system'], since: { epoch: 'e1', id: '1' } },
      { type: 'subscribe', namespaces: ['products', 'system'], keys: ['p'] },
    ]);
    expect(plan()).toEqual([]);
  });

  it('asks for no more than the keys where they are the same', () => {
    claim('products', 'p');
    claim('orders', 'p');
    live('4');
    feed.shut();
    open('9');
    expect(plan()).toEqual([
      { type: 'subscribe', namespaces: ['products', 'orders'], keys: ['p'], since: { epoch: 'e1', id: '4' } },
    ]);
  });

  it('says where events are missing, and goes on from the new position', () => {
    claim('orders');
    live();
    event('1');
    feed.shut();
    open('3', 'e2');
    const [command] = feed.plan();
    answer(command, '3', { recovered: false, reason: 'epoch_changed' });
    expect(out).toEqual(['1', 'gap orders epoch_changed 1']);
    expect(feed.position()).toEqual({ epoch: 'e2', id: '3' });
    expect(feed.isWhole()).toBe(true);
    event('4');
    expect(out.at(-1)).toBe('4');
  });

  it('hands on what came before it was known that the epoch is a new one', () => {
    claim('orders');
    live();
    event('100');
    feed.shut();
    open('1', 'e2');
    const [command] = feed.plan();
    event('2');
    answer(command, '2', { recovered: false, reason: 'epoch_changed' });
    expect(out).toEqual(['100', 'gap orders epoch_changed 100', '2']);
    feed.shut();
    open('2', 'e2');
    expect(feed.plan()[0]?.data.since).toEqual({ epoch: 'e2', id: '2' });
  });

  it('does not deliver twice where a shard is behind', () => {
    claim('orders');
    live();
    event('119', '120');
    feed.shut();
    open('118');
    const [command] = feed.plan();
    answer(command, '118', { recovered: false, reason: 'bad_position' });
    event('119', '120', '121');
    expect(out).toEqual(['119', '120', 'gap orders bad_position 120', '121']);
  });

  it('asks only for what was subscribed before', () => {
    claim('orders');
    live('4');
    feed.shut();
    claim('products');
    open('9');
    expect(plan()).toEqual([
      { type: 'subscribe', namespaces: ['orders'], since: { epoch: 'e1', id: '4' } },
      { type: 'subscribe', namespaces: ['products'] },
    ]);
  });

  it('asks for nothing that was left meanwhile', () => {
    const one = claim('orders');
    claim('products');
    live('4');
    feed.shut();
    feed.release([one]);
    feed.plan();
    claim('orders');
    open('9');
    expect(plan()).toEqual([
      { type: 'subscribe', namespaces: ['products'], since: { epoch: 'e1', id: '4' } },
      { type: 'subscribe', namespaces: ['orders'] },
    ]);
  });

  it('ends also where what is owed was left before it was asked for, or refused', () => {
    const one = claim('orders');
    claim('products');
    live('4');
    feed.shut();
    open('9');
    feed.release([one]);
    const [command] = feed.plan();
    expect(command?.data.namespaces).toEqual(['products']);
    feed.refused(command as Command, new OmnicastError('bad_message', 'no'));
    expect(out).toEqual(['gap products bad_message 4', 'refused bad_message']);
    expect(feed.isWhole()).toBe(true);
  });

  it('ends also where the role lost what is owed before it was asked for', () => {
    claim('orders');
    claim('products');
    live('4');
    feed.shut();
    open('9');
    feed.renew('9', ['products']);
    const [command] = feed.plan();
    answer(command, '9', recovered);
    feed.caughtUp({ namespaces: ['products'], replayed: 0 });
    expect(feed.isWhole()).toBe(true);
    expect(out).toEqual(['refused forbidden_namespace', 'recovered products 0']);
  });

  it('is asked for again with its position after a refusal that will pass', () => {
    claim('orders');
    live('4');
    feed.shut();
    open('9');
    const [command] = feed.plan();
    feed.refused(command as Command, new OmnicastError('rate_limited', '', { retryable: true }));
    expect(feed.isWhole()).toBe(false);
    expect(plan()).toMatchObject([{ since: { id: '4' } }]);
  });

  it('keeps its keys up to date while it is under way', () => {
    claim('orders', 'a');
    live('4');
    feed.shut();
    open('9');
    const [command] = feed.plan();
    claim('orders', 'b');
    expect(plan()).toEqual([{ type: 'subscribe', namespaces: ['orders'], keys: ['a', 'b'] }]);
    answer(command, '9', recovered);
    event('5');
    feed.caughtUp({ namespaces: ['orders'], replayed: 1 });
    expect(out).toEqual(['5', 'recovered orders 1']);
  });

  it('of another user begins anew', () => {
    claim('orders');
    live('4');
    event('5');
    feed.shut();
    open('9', 'e1', 'u2');
    expect(plan()).toEqual([{ type: 'subscribe', namespaces: ['orders'] }]);
    expect(feed.position()?.id).toBe('9');
  });

  it('stops handing on when a handler ends the connection', () => {
    claim('orders');
    live();
    event('1');
    feed.shut();
    const seen: string[] = [];
    const stopping = createFeed(
      {
        event: (each) => {
          seen.push(each.id);
          if (each.id === '3') stopping.shut();
        },
        gap: () => {},
        recovered: () => {},
        refused: () => {},
      },
      { epoch: 'e1', id: '1' },
    );
    stopping.claim('orders', undefined, undefined);
    stopping.claim('products', ['p'], undefined);
    stopping.open('e1', '9', ALL, 'u1');
    const [orders, products] = stopping.plan();
    stopping.answered(orders as Command, { lastEventId: '9', recovered: true });
    stopping.answered(products as Command, { lastEventId: '9', recovered: true });
    for (const id of ['2', '3', '4']) stopping.event({ type: 'a:b', namespace: 'orders', data: {}, timestamp: 1, id });
    stopping.caughtUp({ namespaces: ['orders'], replayed: 3 });
    stopping.caughtUp({ namespaces: ['products'], replayed: 0 });
    expect(seen).toEqual(['2', '3']);
    expect(stopping.position()?.id).toBe('3');
  });
});

describe('a position of the user\'s own', () => {
  it('is where everything goes on from', () => {
    feed = make({ epoch: 'e1', id: '4' });
    claim('orders');
    open('9');
    expect(plan()).toEqual([{ type: 'subscribe', namespaces: ['orders'], since: { epoch: 'e1', id: '4' } }]);
    feed.shut();
    open('9');
    expect(plan()).toMatchObject([{ since: { id: '4' } }]);
  });

  it('of the future hides nothing that comes', () => {
    feed = make({ epoch: 'e1', id: '999999999999' });
    claim('orders');
    open('9');
    const [command] = feed.plan();
    answer(command, '9', { recovered: false, reason: 'bad_position' });
    event('10');
    expect(out).toEqual(['gap orders bad_position 999999999999', '10']);
  });

  it('that was none is a gap', () => {
    for (const since of [{}, { epoch: 'e1' }, { epoch: 1, id: 2 }, 'x', '', 7, []]) {
      feed = make(since);
      claim('orders');
      open('9');
      const [command] = feed.plan();
      expect(command?.data.since).toEqual({ epoch: expect.any(String), id: expect.any(String) });
      answer(command, '9', { recovered: false, reason: 'epoch_changed' });
      event('10');
      expect(out.splice(0)).toEqual([expect.stringMatching(/^gap orders epoch_changed/), '10']);
    }
  });

  it('that was not given is none', () => {
    for (const since of [null, undefined]) {
      feed = make(since);
      claim('orders');
      open('9');
      expect(plan()).toEqual([{ type: 'subscribe', namespaces: ['orders'] }]);
    }
  });
});

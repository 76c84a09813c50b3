import { describe, expect, it } from 'vitest';
import { BORN, type Cause, type Effect, type Input, type Life, MACHINE, type Phase, step } from '../../src/client/lifecycle.js';

const rules = { reconnectInterval: 1_000, maxReconnectInterval: 30_000 };
const world = (rest: object = {}) => ({
  now: 100_000,
  random: () => 0.5,
  heard: 0,
  heardAt: 100_000,
  renewable: true,
  rules,
  ...rest,
});
const life = (phase: Phase, rest: Partial<Life> = {}): Life => ({
  ...BORN,
  phase,
  turn: 7,
  since: 99_000,
  due: 100_000,
  ...rest,
});
const lost = (cause: Partial<Cause>): Input => ({ type: 'lost', turn: 7, cause: { code: 1006, reason: 'x', ...cause } });
const names = (effects: readonly Effect[]) => effects.filter((effect) => typeof effect === 'string');
const timer = (effects: readonly Effect[]) => effects.find((effect) => typeof effect === 'object')?.timer;

const INPUTS: Input[] = [
  { type: 'connect' },
  { type: 'disconnect' },
  { type: 'restart' },
  { type: 'wake' },
  { type: 'timer' },
  { type: 'credential', turn: 7 },
  { type: 'opened', turn: 7 },
  { type: 'welcome', turn: 7 },
  { type: 'not_renewed', turn: 7 },
  { type: 'expiring', turn: 7, expiresAt: 130_000 },
  lost({}),
];

describe('the table', () => {
  // Phase, then what each input makes of it, in the order of INPUTS. '-' = nothing happens.
  const TABLE: [Phase, string][] = [
    ['idle', 'connecting - connecting - - - - - - - -'],
    ['connecting', '- idle connecting - waiting connecting authenticating - - - waiting'],
    ['authenticating', '- idle connecting - waiting - - live - - waiting'],
    ['live', '- idle connecting live live - - - live live waiting'],
    ['waiting', '- idle connecting waiting connecting - - - - - -'],
    ['closed', 'connecting idle connecting - - - - - - - -'],
  ];

  for (const [phase, row] of TABLE) {
    row.split(' ').forEach((expected, i) => {
      const input = INPUTS[i] as Input;
      it(`${phase}: ${input.type} → ${expected}`, () => {
        const before = life(phase, { since: 100_000 });
        const { life: after, effects } = step(before, world(), input);
        if (expected === '-') {
          expect(after).toBe(before);
          expect(effects).toEqual([]);
        } else expect(after.phase).toBe(expected);
      });
    });
  }

  it('covers every input that a phase declares', () => {
    for (const [phase, row] of TABLE) {
      const declared = INPUTS.filter((_, i) => row.split(' ')[i] !== '-').map((input) => input.type);
      const quiet = phase === 'connecting' || phase === 'authenticating' ? ['wake'] : [];
      expect(Object.keys(MACHINE[phase]).sort()).toEqual([...declared, ...quiet].sort());
    }
  });

  it('ignores what belongs to an earlier attempt', () => {
    const before = life('connecting');
    for (const type of ['credential', 'opened'] as const) {
      expect(step(before, world(), { type, turn: 6 }).life).toBe(before);
    }
    expect(step(life('live'), world(), { ...lost({}), turn: 6 } as Input).life.phase).toBe('live');
  });
});

describe('an attempt', () => {
  it('asks for a credential, opens, authenticates, each within its time', () => {
    let at = step(life('idle'), world(), { type: 'connect' });
    expect(names(at.effects)).toEqual(['drop', 'ask']);
    expect(timer(at.effects)).toBe(10_000);
    const { turn } = at.life;
    at = step(at.life, world(), { type: 'credential', turn });
    expect(names(at.effects)).toEqual(['open']);
    expect(timer(at.effects)).toBe(10_000);
    at = step(at.life, world(), { type: 'opened', turn });
    expect(names(at.effects)).toEqual(['authenticate']);
    expect(timer(at.effects)).toBe(10_000);
    at = step(at.life, world(), { type: 'welcome', turn });
    expect(at.life.phase).toBe('live');
  });

  it('that takes too long is dropped', () => {
    const { life: after, effects } = step(life('authenticating'), world(), { type: 'timer' });
    expect(after.cause?.reason).toBe('timeout');
    expect(names(effects)).toEqual(['drop']);
  });

  it('that a sleep has gone over is begun anew, a young one is left alone', () => {
    for (const phase of ['connecting', 'authenticating'] as const) {
      expect(step(life(phase, { since: 97_000 }), world(), { type: 'wake' }).life.turn).toBe(8);
      expect(step(life(phase, { since: 99_000 }), world(), { type: 'wake' }).life.turn).toBe(7);
    }
  });
});

describe('backing off', () => {
  const delay = (failures: number, random: number, cause: Partial<Cause> = {}) => {
    const { effects } = step(life('connecting', { failures }), world({ random: () => random }), lost(cause));
    return timer(effects);
  };

  it('has full jitter from the first retry', () => {
    expect(delay(0, 0)).toBe(0);
    expect(delay(0, 0.25)).toBe(250);
    expect(delay(0, 0.999)).toBeCloseTo(999);
  });

  it('doubles its window up to the largest', () => {
    expect([0, 1, 2, 3, 4, 5, 6, 60, 2_000].map((failures) => delay(failures, 1))).toEqual([
      1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000, 30_000,
    ]);
  });

  it('waits at least as long as the node says, and jitters on top', () => {
    expect(delay(0, 0, { code: 1001, retryAfterMs: 2_166 })).toBe(2_166);
    expect(delay(0, 0.5, { code: 1001, retryAfterMs: 2_166 })).toBe(2_666);
  });

  it('comes back at once, with jitter, after 42xx and 1001', () => {
    expect(delay(0, 0, { code: 4201 })).toBe(0);
    expect(delay(0, 0.3, { code: 1001 })).toBe(300);
  });

  it('backs off after 41xx', () => {
    expect(delay(0, 0, { code: 4103 })).toBe(1_000);
    expect(delay(0, 0, { code: 4102, retryAfterMs: 60_000 })).toBe(60_000);
  });

  it('takes no nonsense for a delay', () => {
    for (const retryAfterMs of [-5, Number.NaN, 'soon', null]) {
      expect(delay(0, 0.5, { retryAfterMs: retryAfterMs as number })).toBe(500);
    }
  });

  it('counts failures until a session lasted', () => {
    const short = step(life('live', { failures: 3, since: 99_000 }), world(), lost({}));
    expect(short.life.failures).toBe(4);
    const long = step(life('live', { failures: 3, since: 80_000 }), world(), lost({}));
    expect(long.life.failures).toBe(1);
  });

  it('gives up after so many attempts, where that is wanted', () => {
    const some = world({ rules: { ...rules, maxReconnectAttempts: 2 } });
    expect(step(life('connecting', { failures: 1 }), some, lost({})).life.phase).toBe('waiting');
    expect(step(life('connecting', { failures: 2 }), some, lost({})).life.phase).toBe('closed');
    const never = world({ rules: { ...rules, reconnect: false } });
    expect(step(life('live'), never, lost({})).life.phase).toBe('closed');
  });

  it('never gives up by itself', () => {
    expect(step(life('connecting', { failures: 1e6 }), world(), lost({})).life.phase).toBe('waiting');
  });

  it('is cut short by a wake, though not below what the node said, nor for all at once', () => {
    const waiting = life('waiting', { due: 120_000, notBefore: 0 });
    expect(timer(step(waiting, world(), { type: 'wake' }).effects)).toBe(500);
    const told = life('waiting', { due: 120_000, notBefore: 110_000 });
    expect(timer(step(told, world(), { type: 'wake' }).effects)).toBe(10_500);
    const soon = life('waiting', { due: 100_100, notBefore: 0 });
    expect(timer(step(soon, world(), { type: 'wake' }).effects)).toBe(100);
  });
});

describe('staying away', () => {
  const after = (cause: Partial<Cause>, rest: object = {}) => step(life('live'), world(rest), lost(cause)).life.phase;

  it('follows what the node said, whatever the code', () => {
    expect(after({ code: 4201, retry: false })).toBe('closed');
    expect(after({ code: 4004, retry: true })).toBe('waiting');
  });

  it('follows the code where the node said nothing', () => {
    for (const code of [4001, 4002, 4004, 4099, 1002, 1003, 1007, 1009]) expect(after({ code }), `${code}`).toBe('closed');
    for (const code of [1000, 1001, 1005, 1006, 1011, 1012, 1013, 4101, 4102, 4103, 4201]) {
      expect(after({ code }), `${code}`).toBe('waiting');
    }
  });

  it('does not come back with a credential that has expired for good', () => {
    expect(after({ code: 4101, retry: true }, { renewable: false })).toBe('closed');
    expect(after({ code: 4101, retry: true })).toBe('waiting');
  });
});

describe('a live connection', () => {
  const tick = (rest: Partial<Life>, at: object) => step(life('live', rest), world(at), { type: 'timer' });

  it('is left alone while something comes', () => {
    const { life: after, effects } = tick({}, { heardAt: 80_000 });
    expect(after.probe).toBeNull();
    expect(effects).toEqual([{ timer: 5_000 }]);
  });

  it('is asked for a sign of life after silence, and left when there is none', () => {
    const asked = tick({}, { heardAt: 75_000, heard: 3 });
    expect(names(asked.effects)).toEqual(['ping']);
    expect(timer(asked.effects)).toBe(5_000);
    const dead = step(asked.life, world({ now: 105_000, heard: 3, heardAt: 75_000 }), { type: 'timer' });
    expect(dead.life.phase).toBe('waiting');
    expect(dead.life.cause?.reason).toBe('no_answer');
    const alive = step(asked.life, world({ now: 105_000, heard: 4, heardAt: 101_000 }), { type: 'timer' });
    expect(alive.life.phase).toBe('live');
    expect(alive.life.probe).toBeNull();
  });

  it('is asked at once when something wakes, and replaced within 2 s', () => {
    const asked = step(life('live', { due: 103_000 }), world({ heard: 3 }), { type: 'wake' });
    expect(names(asked.effects)).toEqual(['ping']);
    expect(timer(asked.effects)).toBe(2_000);
    const dead = step(asked.life, world({ now: 102_000, heard: 3 }), { type: 'timer' });
    expect(dead.life.phase).toBe('connecting');
    expect(names(dead.effects)).toEqual(['drop', 'ask']);
  });

  it('is not asked twice by two wakes', () => {
    const asked = step(life('live', { due: 103_000 }), world(), { type: 'wake' });
    const again = step(asked.life, world({ now: 101_000 }), { type: 'wake' });
    expect(names(again.effects)).toEqual([]);
    expect(timer(again.effects)).toBe(1_000);
  });

  it('asks again more urgently when something wakes while it asks', () => {
    const probe = { heard: 0, until: 104_000, awake: false, again: false };
    const asked = step(life('live', { due: 104_000, probe }), world(), { type: 'wake' });
    expect(names(asked.effects)).toEqual(['ping']);
    expect(timer(asked.effects)).toBe(2_000);
  });

  it('sees a sleep by a timer that is late, either way the clock went', () => {
    for (const due of [60_000, 160_000]) {
      const { life: after, effects } = tick({ due }, {});
      expect(names(effects)).toEqual(['ping']);
      expect(after.probe).toMatchObject({ awake: true, until: 102_000 });
    }
  });

  it('does not take its own delay for the death of the node', () => {
    const probe = { heard: 0, until: 97_000, awake: false, again: false };
    const { life: after, effects } = tick({ due: 97_000, probe }, { heardAt: 60_000 });
    expect(after.phase).toBe('live');
    expect(names(effects)).toEqual(['ping']);
  });

  it('is left in a page whose timers are always late, too', () => {
    let { life: at } = tick({ due: 40_000 }, { heard: 3, heardAt: 40_000 });
    for (const now of [160_000, 220_000]) {
      expect(at.phase).toBe('live');
      ({ life: at } = step(at, world({ now, heard: 3, heardAt: 40_000 }), { type: 'timer' }));
    }
    expect(at.phase).toBe('connecting');
  });

  it('renews within the first half of what is left', () => {
    const soon = step(life('live', { due: 105_000 }), world({ random: () => 0.1 }), {
      type: 'expiring',
      turn: 7,
      expiresAt: 160_000,
    });
    expect(timer(soon.effects)).toBe(3_000);
    const due = step(soon.life, world({ now: 103_000 }), { type: 'timer' });
    expect(names(due.effects)).toEqual(['renew']);
    const late = step(life('live', { due: 105_000 }), world({ random: () => 1 }), {
      type: 'expiring',
      turn: 7,
      expiresAt: 160_000,
    });
    expect(late.life.renewAt).toBe(130_000);
  });

  it('takes the notice for it where its own clock is wrong', () => {
    for (const [expiresAt, renewAt] of [
      [0, 100_000],
      [9e12, 130_000],
      [Number.NaN, 100_000],
    ] as const) {
      const { life: after } = step(life('live', { due: 105_000 }), world({ random: () => 1 }), {
        type: 'expiring',
        turn: 7,
        expiresAt,
      });
      expect(after.renewAt, `${expiresAt}`).toBe(renewAt);
    }
  });

  it('does not renew all the time where sessions are short', () => {
    for (const [expiresAt, renewAt] of [
      [130_000, 104_000],
      [110_000, 104_000],
      // So short that the fixed time would be too late.
      [106_000, 102_000],
      [103_000, 100_500],
      [100_500, 100_000],
      // By a clock that is wrong.
      [50_000, 104_000],
    ] as const) {
      const input = { type: 'expiring', turn: 7, expiresAt } as const;
      const { life: after } = step(life('live', { renewedAt: 99_000 }), world({ random: () => 0 }), input);
      expect(after.renewAt, `${expiresAt}`).toBe(renewAt);
    }
  });

  it('tries again where renewing failed', () => {
    const { life: after } = step(life('live', { due: 101_000 }), world(), { type: 'not_renewed', turn: 7 });
    expect(after.renewAt).toBe(105_000);
  });

  it('does not renew what cannot change', () => {
    const before = life('live');
    const fixed = world({ renewable: false });
    expect(step(before, fixed, { type: 'expiring', turn: 7, expiresAt: 130_000 }).life).toBe(before);
  });
});

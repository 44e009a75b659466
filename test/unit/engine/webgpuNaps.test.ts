import { expect, it } from 'vitest';
import { Naps } from '../../../src/engine/webgpu/naps.ts';

/** A clock by hand: `turn` runs what was scheduled for the next turn of the event loop. */
function handClock() {
  const state = { ms: 0, naps: 0, scheduled: [] as (() => void)[] };
  const clock = {
    now: () => state.ms,
    sleep: (ms: number) => {
      state.ms += ms;
      state.naps += 1;
    },
    nextTurn: (callback: () => void) => void state.scheduled.push(callback),
  };
  const turn = () => {
    for (const callback of state.scheduled.splice(0)) callback();
  };
  return { state, clock, turn };
}

it('sleeps once a turn of the event loop while an answer takes long, and not after it', () => {
  const { state, clock, turn } = handClock();
  let isWaiting = true;
  const naps = new Naps(() => isWaiting, clock);
  naps.start();
  turn();
  expect(state.naps).toBe(0); // answers that come at once are not delayed
  state.ms += 1.5;
  naps.start(); // a second promise: still one nap a turn
  for (let i = 0; i < 3; i++) turn();
  expect(state.naps).toBe(3);
  isWaiting = false;
  turn();
  expect(state.naps).toBe(3);
  expect(state.scheduled).toHaveLength(0);
});

it('starts again with the next wait, and is awake at its beginning', () => {
  const { state, clock, turn } = handClock();
  let isWaiting = false;
  const naps = new Naps(() => isWaiting, clock);
  naps.start();
  turn();
  isWaiting = true;
  state.ms += 10;
  naps.start();
  turn();
  expect(state.naps).toBe(0);
  state.ms += 2;
  turn();
  expect(state.naps).toBe(1);
});

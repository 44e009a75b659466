import { expect, it, vi } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';

it('runs once or again and again, until it is cancelled', () => {
  vi.useFakeTimers();
  try {
    const ran: string[] = [];
    systemClock.after(10, () => ran.push('after'));
    const cancelled = systemClock.after(10, () => ran.push('cancelled'));
    const stop = systemClock.every(4, () => ran.push('every'));
    cancelled();
    vi.advanceTimersByTime(11);
    expect(ran).toEqual(['every', 'every', 'after']);
    stop();
    cancelled();
    vi.advanceTimersByTime(100);
    expect(ran).toHaveLength(3);
  } finally {
    vi.useRealTimers();
  }
});

it('has a wall time and one that never goes back', () => {
  expect(Math.abs(systemClock.now() - Date.now())).toBeLessThan(1_000);
  let last = systemClock.monotonic();
  for (let i = 0; i < 1_000; i++) {
    const now = systemClock.monotonic();
    expect(now).toBeGreaterThanOrEqual(last);
    last = now;
  }
});

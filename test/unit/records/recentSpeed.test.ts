import { expect, it } from 'vitest';
import { meanSpeed, RecentSpeed, smoothedSpeed } from '../../../src/records/recentSpeed.ts';

it('adds up work and time, so that a step that seemed short makes up for the long one before it', () => {
  const speed = new RecentSpeed();
  // 100 tokens in 1 s each, but the end of the first is heard of 0.9 s late.
  expect(speed.add(100 / 1.9)).toBeCloseTo(100 / 1.9);
  expect(speed.add(100 / 0.1)).toBeCloseTo(100);
});

it('forgets all but the newest ten, and knows nothing where nothing is known', () => {
  const speed = new RecentSpeed();
  speed.add(1e-3);
  for (let i = 0; i < 9; i++) speed.add(50);
  expect(speed.add(50)).toBeCloseTo(50);
  expect(speed.add(undefined)).toBeNaN();
  expect(speed.add(0)).toBeNaN();
  expect(speed.add(50)).toBeCloseTo(50);
});

it('is work over time, not the mean of speeds', () => {
  const jumping = [100, 10];
  expect(meanSpeed(jumping.map((speed) => [speed, 1]))).toBeCloseTo(2 / (1 / 100 + 1 / 10));
  // 90 of 100 tokens at 100 tokens a second, 10 at 10.
  expect(smoothedSpeed(100, 10)).toBeCloseTo(100 / (0.9 + 1));
  expect(smoothedSpeed(undefined, 10)).toBe(10);
});

it('smoothed, comes to what a run with fast and slow steps in turn makes', () => {
  let speed: number | undefined;
  for (let step = 0; step < 200; step++) speed = smoothedSpeed(speed, step % 2 === 0 ? 1_000 : 10);
  const made = 2 / (1 / 1_000 + 1 / 10);
  expect(Math.abs(speed! / made - 1)).toBeLessThan(0.06);
});

import { expect, it } from 'vitest';
import { RecentSpeed } from '../../../src/records/recentSpeed.ts';

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

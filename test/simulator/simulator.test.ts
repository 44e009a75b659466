/**
 * Thousands of seeded fault schedules against the real coordinator and the real agents, in virtual time. A seed that fails
 * prints its schedule and replays exactly: LOCKSTEP_SEED_FROM=SEED LOCKSTEP_SEEDS=1 (`npm run simulate -- --from SEED --seeds 1`).
 */
import { expect, it } from 'vitest';
import { Simulation } from './simulation.ts';

const from = Number(process.env['LOCKSTEP_SEED_FROM'] ?? 0);
const seeds = Number(process.env['LOCKSTEP_SEEDS'] ?? 2_000);

it(`${seeds} seeds from ${from} on: no invariant breaks, every run ends`, async () => {
  for (let seed = from; seed < from + seeds; seed++) {
    const { violation, report } = await new Simulation({ seed }).run();
    if (violation !== undefined) expect.fail(`seed ${seed}: ${violation}\n${report}`);
  }
}, 1_200_000);

it('replays a seed exactly', async () => {
  const [first, again] = [await new Simulation({ seed: 7 }).run(), await new Simulation({ seed: 7 }).run()];
  expect(again.traceHash).toBe(first.traceHash);
  expect(again.report).toBe(first.report);
});

import { expect, it } from 'vitest';
import { Simulation } from './simulation.ts';

it('runs', async () => {
  const from = Number(process.env['SIM_FROM'] ?? 0);
  const count = Number(process.env['SIM_SEEDS'] ?? 10);
  const faults = process.env['SIM_FAULTS']?.split(',').filter((x) => x) as never;
  const t = performance.now();
  const tally = new Map<string, number[]>();
  const fails = new Map<string, number[]>();
  let first: string | undefined;
  let events = 0;
  for (let seed = from; seed < from + count; seed++) {
    const r = await new Simulation({ seed, ...(faults ? { faults } : {}) }).run();
    events += r.events;
    for (const f of r.failures) { const k = f.replace(/\d+(\.\d+)?/g, 'N').slice(0, 160); fails.set(k, [...(fails.get(k) ?? []), seed]); }
    if (process.env['SIM_SHOW']) first ??= r.report;
    if (r.violation) {
      first ??= r.report;
      const key = r.violation.replace(/\d+(\.\d+)?/g, 'N').slice(0, 200);
      tally.set(key, [...(tally.get(key) ?? []), seed]);
    }
  }
  console.log(first);
  for (const [k, v] of tally) console.log('VIOLATION', v.length, k, v.slice(0, 8).join(' '));
  for (const [k, v] of fails) console.log('FAILURE', v.length, k, v.slice(0, 5).join(' '));
  console.log(`${count} seeds, ${events} events, ${((performance.now() - t) / 1000).toFixed(1)} s`);
  expect(tally.size).toBe(0);
}, 600_000);

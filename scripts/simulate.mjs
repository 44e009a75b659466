/**
 * `npm run simulate -- --seeds N [--from S]`: runs the simulator (test/simulator) over N seeds, shows what each failing seed did,
 * and what the runs came to.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: { seeds: { type: 'string', default: '2000' }, from: { type: 'string', default: '1' } },
});
const folder = mkdtempSync(join(tmpdir(), 'lockstep-simulate-'));
const summary = join(folder, 'summary');
const env = {
  ...process.env,
  LOCKSTEP_SIMULATE_SEEDS: values.seeds,
  LOCKSTEP_SIMULATE_FROM: values.from,
  LOCKSTEP_SIMULATE_SUMMARY: summary,
};
try {
  const args = ['vitest', 'run', '--project', 'simulator', '-t', 'whatever happens'];
  const { status, stdout } = spawnSync('npx', args, { env, encoding: 'utf8', maxBuffer: 2 ** 28 });
  try {
    process.stdout.write(readFileSync(summary, 'utf8'));
  } catch {
    process.stdout.write(stdout);
  }
  process.exitCode = status ?? 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}

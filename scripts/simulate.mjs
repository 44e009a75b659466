// Runs the simulator (test/simulator) over any number of seeds: npm run simulate -- --seeds 100000 [--from 0]
import { spawnSync } from 'node:child_process';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: { seeds: { type: 'string', default: '2000' }, from: { type: 'string', default: '0' } },
});
const env = { ...process.env, LOCKSTEP_SEEDS: values.seeds, LOCKSTEP_SEED_FROM: values.from };
const { status } = spawnSync('npx', ['vitest', 'run', '--project', 'simulator'], { stdio: 'inherit', env });
process.exitCode = status ?? 1;

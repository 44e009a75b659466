/** CI's rule of skipped tests, on a run of Vitest of its own. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { packageRoot } from '../../src/base/packageRoot.ts';

// Within the package, so that `vitest` is found.
mkdirSync(join(packageRoot, 'build'), { recursive: true });
const folder = mkdtempSync(join(packageRoot, 'build', 'skipped-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Runs a file of tests as CI does. */
function run(name: string, tests: string, env: Readonly<Record<string, string>> = {}) {
  writeFileSync(join(folder, 'vitest.config.ts'), 'export default {};\n');
  mkdirSync(dirname(join(folder, name)), { recursive: true });
  writeFileSync(join(folder, name), `import { describe, expect, it } from 'vitest';\n${tests}`);
  const vitest = join(packageRoot, 'node_modules/vitest/vitest.mjs');
  const reporter = join(packageRoot, 'test/skippedTests.ts');
  const args = ['run', '--root', folder, '--reporter=default', `--reporter=${reporter}`, name];
  const options = { encoding: 'utf8', env: { ...process.env, ...env } } as const;
  const { status, stdout, stderr } = spawnSync(process.execPath, [vitest, ...args], options);
  return { status, stdout, stderr };
}

const passes = "it('passes', () => expect(1).toBe(1));\n";

it('a test that is skipped fails the run and is named, with its reason', () => {
  const skips = "describe.skipIf(true)('no browser', () => { it('draws', () => {}); });\n";
  const notes = "it('finds out late', ({ skip }) => skip('no tool'));\n";
  const { status, stderr } = run('planted.test.ts', passes + skips + notes);
  expect(stderr).toContain('planted.test.ts: no browser > draws\n');
  expect(stderr).toContain('planted.test.ts: finds out late (no tool)\n');
  expect(status).toBe(1);
});

it('a run without skipped tests passes', () => {
  expect(run('whole.test.ts', passes)).toMatchObject({ status: 0, stderr: '' });
});

it('a case that is left to the night is counted, with the reason; at night it may not be skipped', () => {
  const leaves = "it.skip('SIGKILL checkpoint', () => {});\n";
  const byDay = run('test/fault/survive.test.ts', passes + leaves, { LOCKSTEP_NIGHTLY: '' });
  expect(byDay).toMatchObject({ status: 0, stderr: '' });
  expect(byDay.stdout).toContain('1 skipped in test/fault/survive.test.ts: scripts/nightly.sh runs it\n');
  const atNight = run('test/fault/survive.test.ts', passes + leaves, { LOCKSTEP_NIGHTLY: '1' });
  expect(atNight.stderr).toContain('test/fault/survive.test.ts: SIGKILL checkpoint\n');
  expect(atNight.status).toBe(1);
});

it.each([
  ['survive', ['SIGKILL forward', 'SIGSTOP reduceScatter', 'SIGKILL checkpoint twice']],
  ['resumeCoordinator', ['killed at a moment of a step, forming: all its workers continue']],
  ['namespaces', ['machines, three of them train together', 'a slow or lossy way to a machine, by nft']],
])('a representative case of %s may be skipped by nothing', (name, cases) => {
  const file = `test/fault/${name}.test.ts`;
  const skips = cases.map((title) => `it.skip('${title}', () => {});\n`).join('');
  const { status, stderr } = run(file, passes + skips, { LOCKSTEP_NIGHTLY: '' });
  for (const title of cases) expect(stderr).toContain(`${file}: ${title}\n`);
  expect(status).toBe(1);
});

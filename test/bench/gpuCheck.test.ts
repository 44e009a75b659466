/** bench/gpu/check.sh on a machine whose Node.js is pretended: parts that fail, hang or print something else than JSON take nothing from the others. */
import { execFile } from 'node:child_process';
import { access, chmod, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { packageRoot } from '../../src/base/packageRoot.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lockstep-check-'));
});
afterEach(() => rm(folder, { recursive: true }));

/** What Node.js does there, by what it is asked to run; a line of shell each. Reports and records are made by the real one. */
async function check(
  ways: Readonly<Record<string, string>>,
  { seconds = 60, path = process.env['PATH']!, within = folder } = {},
) {
  const cases = Object.entries(ways).map(([pattern, way]) => `*'${pattern}'*) ${way} ;;`);
  const real = `*report.mjs*|*jsonRecords.mjs*|--version) exec ${process.execPath} "$@" ;;`;
  const node = join(within, 'node');
  await writeFile(
    node,
    `#!/bin/bash\ncase "$*" in\n${[real, ...cases].join('\n')}\n*) echo unexpected "$@"; exit 9 ;;\nesac\n`,
  );
  await chmod(node, 0o755);
  const root = join(within, 'root');
  for (const file of ['dist/cli/main.js', 'build/bench/bench/main.js', 'bench/gpu']) {
    await mkdir(join(root, file, '..'), { recursive: true });
    if (file.endsWith('.js')) await writeFile(join(root, file), '');
    else await symlink(join(packageRoot, file), join(root, file));
  }
  const script = join(packageRoot, 'bench/gpu/check.sh');
  // Relative, as people name them.
  const args = [script, '--small', '--parts', 'webgpu', '--node', './node', '--root', 'root', '--out', 'out'];
  const run = await new Promise<{ code: unknown; stdout: string }>((resolve) => {
    const options = { cwd: within, env: { ...process.env, PATH: path } };
    execFile('bash', [...args, '--seconds', String(seconds)], options, (error, stdout) => {
      resolve({ code: error?.code ?? 0, stdout });
    });
  });
  const results = JSON.parse(await readFile(join(within, 'out/results.json'), 'utf8')) as {
    name: string;
    value?: unknown;
    failed?: string;
  }[];
  return { ...run, results, failed: Object.fromEntries(results.map(({ name, failed }) => [name, failed])) };
}

const device = `echo '{"part":"webgpu","name":"adapter","value":"a GPU"}' >>"$2"`;
const suites = `echo ' Test Files  3 passed (3)'; echo '      Tests  9 passed (9)'`;
const scaling = `mkdir -p "\${@: -1}"; echo '{
"results": [{"workers": 2, "tokensPerSecond": 1000}]
}' >"\${@: -1}/bench.json"`;

it('a part that fails or whose output cannot be read leaves the others, and its own words', async () => {
  const { code, results, failed, stdout } = await check({
    'webgpuDevice.mjs': device,
    'vitest.mjs': suites,
    'main.js engine': 'echo not JSON',
    'bench step': `printf 'launch: a tensor "x" does \\033[1mnot fit this GPU\\nmore\\n'; exit 2`,
    'bench scaling': scaling,
  });
  expect(code).toBe(1);
  expect(failed['kernels']).toBe('its JSON cannot be read');
  expect(failed['shakespeare-char B 12']).toBe('exit code 2: launch: a tensor x does [1mnot fit this GPU');
  const values = Object.fromEntries(results.map(({ name, value }) => [name, value]));
  expect(values).toMatchObject({
    adapter: 'a GPU',
    'parity suites': ' Test Files 3 passed (3)  Tests 9 passed (9) ',
    'shakespeare-char, run of 2 on one GPU': 1000,
  });
  expect(stdout).toContain('3 results, 2 failed');
});

it('without a GPU says why, once', async () => {
  const none = `{ echo '{"part":"webgpu","name":"webgpu device","failed":"no driver"}' | tee -a "$2"; exit 1; }`;
  const { code, results } = await check({ 'webgpuDevice.mjs': none });
  expect(code).toBe(1);
  expect(results).toEqual([{ part: 'webgpu', name: 'webgpu device', failed: 'no driver' }]);
});

it('ends in time where something hangs, with and without the command timeout', async () => {
  // As on a Mac: what the script needs, but no `timeout`.
  const bin = join(folder, 'bin');
  await mkdir(bin);
  for (const from of ['/bin', '/usr/bin']) {
    for (const name of await readdir(from)) {
      if (!/^(g?timeout|nvidia-smi)$/.test(name)) await symlink(join(from, name), join(bin, name)).catch(() => {});
    }
  }
  const run = async (path: string) => {
    const within = await mkdtemp(join(folder, 'run-'));
    const hanging = `{ echo $$ >${join(within, 'pid')}; sleep 300; echo; }`;
    const { failed } = await check({ 'webgpuDevice.mjs': device, 'vitest.mjs': hanging }, { seconds: 4, path, within });
    const pid = Number(await readFile(join(within, 'pid'), 'utf8'));
    return {
      failed,
      lives: await access(`/proc/${pid}`).then(
        () => true,
        () => false,
      ),
    };
  };
  for (const { failed, lives } of await Promise.all([run(process.env['PATH']!), run(bin)])) {
    expect(failed['parity suites']).toBe('exit code 124: took too long; ');
    expect(failed['ring']).toBe('not begun: out of time');
    expect(lives).toBe(false);
  }
}, 60_000);

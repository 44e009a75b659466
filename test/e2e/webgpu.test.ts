/** The webgpu engine through the command line, and the ends of a program while a GPU works. Skipped where no adapter is found. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { packageRoot } from '../../src/base/packageRoot.ts';
import { allAdapters } from '../../src/engine/webgpu/adapters.ts';
import { launch, lossesOf, metricsOf, set, start, startProgram, tiny, useFolder } from './launch.ts';

/** Found in this process; those of the test find the same. */
const adapters = await allAdapters().catch((error: unknown) => {
  if (process.env['LOCKSTEP_REQUIRE_WEBGPU'] === '1') throw error;
  return [];
});
if (process.env['LOCKSTEP_REQUIRE_WEBGPU'] === '1' && adapters.length === 0) throw new Error('there is no adapter');

const folder = useFolder();
const gpu = [...tiny, 'engine.name=webgpu'];
const lose = (name: string) => ({
  LOCKSTEP_TEST_LOSE: join(folder(), name),
  NODE_OPTIONS: `--import=${pathToFileURL(join(packageRoot, 'test/e2e/loseGpu.mjs')).href}`,
});

describe.skipIf(adapters.length === 0)('the webgpu engine', { timeout: 300_000 }, () => {
  describe('a program ends while the GPU works', () => {
    const program = async (way: string, env: Record<string, string> = {}) => {
      const words = [process.execPath, join(packageRoot, 'test/e2e/gpuExit.mjs'), join(packageRoot, 'dist'), way];
      const running = startProgram(words, folder(), env);
      const result = await running.finished;
      expect(await running.descendants()).toEqual([]);
      return result;
    };

    it.each([
      ['an engine that nobody disposes of', 'engine', 0, /^ended$/m],
      ['a thread that is closed while it opens its device', 'building', 0, /^ended$/m],
      ['a thread that is closed after an error in a step', 'kernel', 0, /^step: .+\nended$/m],
      [
        'a thread that is closed while it reads',
        'close',
        0,
        /^the GPU was closed before it had answered\n(.*\n)*ended$/m,
      ],
      ['an exit while a thread reads', 'exit', 3, /^/],
      ['an uncaught error while a thread reads', 'throw', 1, /^/],
    ])('%s', async (_, way, code, printed) => {
      const result = await program(way);
      expect({ ...result, stdout: '' }).toMatchObject({ code });
      expect(result.stdout).toMatch(printed);
      expect(result.stderr).not.toMatch(/FATAL|not resolved or rejected/);
    });

    it('a device that is lost', async () => {
      const { code, stdout, stderr } = await program('lost', {
        ...lose('lost-in-program'),
        LOCKSTEP_TEST_LOSE_AT_READ: '2',
      });
      expect(stderr).not.toMatch(/FATAL|not resolved or rejected/);
      expect(stdout).toMatch(/^the GPU was lost: .*; start this worker again$/m);
      expect(stdout).toMatch(/^ended$/m);
      expect(code).toBe(0);
    });
  });

  it('trains as the native engine does, resumes exactly, and generates', async () => {
    const run = (name: string, ...more: string[]) =>
      launch(['--run-dir', name, '--workers', '1', ...set(...gpu, 'train.maxSteps=6', ...more)], folder());
    const whole = await run('whole');
    expect(whole).toMatchObject({ code: 0, orphans: [] });
    await run('native', 'engine.name=native');
    const [losses, native] = await Promise.all(['whole', 'native'].map((name) => lossesOf(join(folder(), name))));
    for (const [i, loss] of losses!.entries()) expect(loss).toBeCloseTo(native![i]!, 4);

    await run('parts', 'train.maxSteps=3');
    const resumed = await launch(['--resume', 'parts', ...set('train.maxSteps=6')], folder());
    expect(resumed).toMatchObject({ code: 0, orphans: [] });
    const hashes = async (name: string) =>
      (await metricsOf(join(folder(), name))).map(({ step, parameterHash }) => [step, parameterHash]);
    expect(await hashes('parts')).toEqual(await hashes('whole'));

    const text = await launch(
      ['generate', '--checkpoint', 'whole', '--engine', 'webgpu', '--max-tokens', '5'],
      folder(),
    );
    expect(text).toMatchObject({ code: 0, orphans: [] });
    expect(text.stdout.length).toBeGreaterThan(0);

    const server = start(['serve', 'whole', '--engine', 'webgpu', '--port', '0'], folder());
    const [, url = ''] = await server.printed(/serving whole at (http:\S+)/);
    const complete = (max_tokens: number) =>
      fetch(new URL('/v1/completions', url), {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ model: 'whole', prompt: 'the ', max_tokens }),
      });
    const textOf = async (response: Promise<Response>) =>
      ((await (await response).json()) as { choices: { text: string }[] }).choices[0]!.text;
    expect(await textOf(complete(5))).toHaveLength(5);
    // It ends while the GPU computes the answer to a request, which is given first.
    const last = complete(200);
    await complete(1);
    server.process.kill('SIGTERM');
    expect(await textOf(last)).toHaveLength(200);
    const { code, stderr } = await server.finished;
    expect(code).toBe(0);
    expect(stderr).not.toMatch(/FATAL|not resolved or rejected/);
    expect(await server.descendants()).toEqual([]);
  });

  // The GPUs of this machine have it if the first has.
  const half = adapters[0]?.features.has('shader-f16') === true ? ['engine.precision=f16'] : [];

  it.skipIf(half.length === 0)('in float16: a run that is killed resumes with the bits of another', async () => {
    const keys = [...gpu, ...half, 'checkpoint.everySteps=2', 'schedule.decaySteps=1000'];
    const run = (name: string, maxSteps: number) => [
      '--run-dir',
      name,
      '--workers',
      '1',
      ...set(...keys, `train.maxSteps=${maxSteps}`),
    ];
    expect(await launch(run('half', 12), folder())).toMatchObject({ code: 0, orphans: [] });
    const running = start(run('killed', 1_000_000), folder());
    await running.printed(/step +4\//);
    for (const pid of [running.process.pid!, ...(await running.descendants())]) process.kill(pid, 'SIGKILL');
    await running.finished;
    const resumed = await launch(['--resume', 'killed', ...set('train.maxSteps=12')], folder());
    expect(resumed).toMatchObject({ code: 0, orphans: [] });
    const hashes = async (name: string) =>
      (await metricsOf(join(folder(), name))).map(({ step, parameterHash }) => [step, parameterHash]);
    expect(await hashes('killed')).toEqual(await hashes('half'));
  });

  it('two workers share a device; one is killed, and the run continues', async () => {
    const keys = set(...gpu, ...half, 'train.maxSteps=1000000', 'schedule.decaySteps=1000');
    const running = start(['--run-dir', 'two', '--workers', '2', ...keys], folder());
    await running.printed(/step +3\//);
    const [victim] = await workersOf(await running.descendants());
    process.kill(victim!, 'SIGKILL');
    await running.printed(/step +12\//);
    running.process.kill('SIGTERM');
    const { code, stderr } = await running.finished;
    expect(code).toBe(130);
    expect(stderr).toContain('2 workers share one device');
    expect(await running.descendants()).toEqual([]);
    const events = await readFile(join(folder(), 'two', 'events.jsonl'), 'utf8');
    expect(events).toContain('was killed by SIGKILL');
  });

  it('a worker whose device is lost says so, and the run continues without it', async () => {
    const args = ['--run-dir', 'lost', '--workers', '2', '--max-restarts', '0', ...set(...gpu, 'train.maxSteps=40')];
    const running = start(args, folder(), lose('lost-in-run'));
    const { code, stdout, stderr } = await running.finished;
    expect(await running.descendants()).toEqual([]);
    expect(`${stdout}${stderr}`).toMatch(/the GPU was lost: .*; start this worker again/);
    expect((await lossesOf(join(folder(), 'lost'))).length).toBe(40);
    expect(code).toBe(0);
  });

  it.each([
    ['SIGTERM ends a run in one process in order', 'SIGTERM', 1],
    ['SIGINT twice ends it at once', 'SIGINT', 2],
  ] as const)('%s', async (_, signal, times) => {
    const keys = set(...gpu, 'train.maxSteps=1000000', 'schedule.decaySteps=1000');
    const running = start(['--single-process', '--run-dir', signal, '--workers', '2', ...keys], folder());
    await running.printed(/step +2\//);
    for (let i = 0; i < times; i++) running.process.kill(signal);
    const { code, stderr } = await running.finished;
    expect({ code, stderr }).toMatchObject({ code: 130 });
    expect(stderr).not.toMatch(/FATAL|not resolved or rejected/);
  });

  it('says which devices there are if the requested one is not', async () => {
    const { code, stderr } = await launch(set(...gpu, 'engine.device=5'), folder());
    expect(code).toBe(2);
    expect(stderr).toMatch(/device 5 was requested, but the engine webgpu finds \d+ here \(0: .+\): set engine.device/);
  });
});

/** The pids of worker processes, in the order of their names. */
async function workersOf(pids: readonly number[]): Promise<number[]> {
  const workers: { pid: number; id: string }[] = [];
  for (const pid of pids) {
    const [, , options] = (await readFile(`/proc/${pid}/cmdline`, 'utf8')).split('\0');
    const { id } = JSON.parse(options ?? '{}') as { id?: string };
    if (id !== undefined) workers.push({ pid, id });
  }
  return workers.sort((a, b) => (a.id < b.id ? -1 : 1)).map(({ pid }) => pid);
}

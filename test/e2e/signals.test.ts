/** What a system does before it takes a machine, a terminal or a disk away: no run loses a step by it. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { packageRoot } from '../../src/base/packageRoot.ts';
import { launch, lossesOf, set, start, startProgram, tiny, useFolder } from './launch.ts';
import { hasTmux, openTerminal } from './terminal.ts';

const folder = useFolder();
const entry = join(packageRoot, 'dist/cli/main.js');
const long = set(...tiny, 'train.maxSteps=1000000');

async function eventsOf(runDir: string): Promise<{ event: string; reason: string }[]> {
  const lines = (await readFile(join(folder(), runDir, 'events.jsonl'), 'utf8')).trimEnd().split('\n');
  return lines.map((line) => JSON.parse(line) as { event: string; reason: string });
}

/** Every step that the run made is in a checkpoint. */
async function expectNothingLost(runDir: string): Promise<void> {
  const steps = (await lossesOf(join(folder(), runDir))).length;
  expect(steps).toBeGreaterThan(0);
  const checkpoints = await readdir(join(folder(), runDir, 'checkpoints'));
  expect(checkpoints.sort().at(-1)).toBe(`step-${String(steps).padStart(8, '0')}`);
  expect(await readdir(join(folder(), runDir))).not.toContain('run.lock');
}

/** A shell's word. */
const quoted = (word: string) => `'${word.replaceAll("'", "'\\''")}'`;
const command = (args: readonly string[]) => [process.execPath, entry, ...args].map(quoted).join(' ');

describe('a signal', () => {
  it.each(['SIGUSR1', 'SIGUSR2', 'SIGQUIT', 'SIGXCPU', 'SIGPWR'] as const)('%s ends a run in order', async (signal) => {
    const running = start(['--workers', '1', '--run-dir', signal, ...long], folder());
    await running.printed(/step +2\//);
    // To every process of the job, as batch systems do; and they may repeat the signal, which does not mean impatience.
    for (const pid of await running.descendants()) process.kill(pid, signal);
    running.process.kill(signal);
    if (signal !== 'SIGQUIT') running.process.kill(signal); // that is a key: twice is impatience
    const result = await running.finished;
    expect(result.code).toBe(130);
    expect(await running.descendants()).toEqual([]);
    expect(await eventsOf(signal)).toContainEqual(
      expect.objectContaining({ event: 'stopping', reason: `the run is to stop: ${signal}` }),
    );
    await expectNothingLost(signal);
  });

  it('SIGTERM to the run and to all its workers at once, as a service manager sends it, ends the run in order', async () => {
    const running = start(['--workers', '2', '--run-dir', 'group', ...long], folder());
    await running.printed(/step +2\//);
    for (const pid of await running.descendants()) process.kill(pid, 'SIGTERM');
    running.process.kill('SIGTERM');
    expect((await running.finished).code).toBe(130);
    await expectNothingLost('group');
  });

  it('SIGHUP to a run that never had a terminal is ignored, by its workers too', async () => {
    const running = start(['--workers', '1', '--run-dir', 'hung up', ...long], folder());
    await running.printed(/step +2\//);
    for (const pid of await running.descendants()) process.kill(pid, 'SIGHUP');
    running.process.kill('SIGHUP');
    const before = (await lossesOf(join(folder(), 'hung up'))).length;
    await running.printed(new RegExp(`step +${before + 30}/`));
    running.process.kill('SIGTERM');
    expect((await running.finished).code).toBe(130);
    await expectNothingLost('hung up');
  });

  it('SIGUSR1 ends a command that has nothing to lose, and opens no debugger', async () => {
    const module = join(packageRoot, 'dist/cli/endRequests.js');
    const script = `import(${JSON.stringify(module)}).then(({ tameSignals }) => {
      tameSignals();
      console.log('ready');
      setInterval(() => {}, 1000);
    })`;
    const running = startProgram([process.execPath, '-e', script], folder());
    await running.printed(/ready/);
    running.process.kill('SIGUSR1');
    expect(await running.finished).toEqual({ code: 138, stdout: 'ready\n', stderr: '' });
  });

  it('SIGTERM after an announcement does not end at once, Ctrl-C does', async () => {
    const sizes = ['model.nEmbd=512', 'model.blockSize=256', 'train.globalBatchSize=252', 'train.microBatchSize=252'];
    const slow = set(...tiny, 'train.maxSteps=100000', ...sizes);
    const running = start(['--workers', '1', '--run-dir', 'insisted', ...slow], folder());
    await running.printed(/worker ready/);
    running.process.kill('SIGUSR1');
    await running.printed(/stopping after this step/);
    running.process.kill('SIGTERM');
    await sleep(500);
    expect(running.process.exitCode).toBeNull();
    running.process.kill('SIGINT');
    expect((await running.finished).code).toBe(130);
    expect(await readdir(join(folder(), 'insisted'))).not.toContain('checkpoints');
  });

  it('Ctrl-C that also ends the reader of its output, as with `| tee log`, ends the run in order', async () => {
    const running = start(['--workers', '1', '--run-dir', 'tee', ...long], folder());
    await running.printed(/step +2\//);
    running.process.stdout?.destroy();
    running.process.kill('SIGINT');
    expect((await running.finished).code).toBe(130);
    await expectNothingLost('tee');
  });

  it('a run continues when the shell ends in which npm was started', async () => {
    const npm = "require('node:child_process').spawn(process.execPath, process.argv.slice(1), { stdio: 'inherit' })";
    const run = [entry, '--workers', '1', '--run-dir', 'logged out', ...long];
    const words = [process.execPath, '-e', npm, '--', ...run].map(quoted).join(' ');
    const shell = startProgram(['sh', '-c', `${words} & sleep 3`], folder(), { npm_lifecycle_script: 'launch' });
    await shell.printed(/step +2\//);
    while (shell.process.exitCode === null) await sleep(50);
    const before = (await lossesOf(join(folder(), 'logged out'))).length;
    await sleep(1_500); // it has looked three times at who started it
    await shell.printed(new RegExp(`step +${before + 10}/`));
    const [npmPid] = await shell.descendants();
    process.kill(npmPid!, 'SIGKILL');
    while ((await shell.descendants()).length > 0) await sleep(50);
    expect((await eventsOf('logged out')).filter(({ event }) => event === 'stopping')).toHaveLength(1);
    await expectNothingLost('logged out');
  });

  it.each(['SIGTERM', 'SIGKILL'] as const)(
    '%s to npm, which hands on none, ends the command that it started',
    async (signal) => {
      const runDir = `npm ${signal}`;
      const script = `${command(['--workers', '1', '--run-dir', runDir, ...long])}; true`;
      // As npx does it: npm, a shell, the command.
      const npm = startProgram(['sh', '-c', `sh -c ${quoted(script)}; true`], folder(), {
        npm_lifecycle_script: 'launch',
      });
      await npm.printed(/step +2\//);
      npm.process.kill(signal);
      while ((await npm.descendants()).length > 0) await sleep(50);
      const reason = 'the run is to stop: the end of npm';
      expect(await eventsOf(runDir)).toContainEqual(expect.objectContaining({ event: 'stopping', reason }));
      await expectNothingLost(runDir);
    },
  );

  it.skipIf(!hasTmux)('a terminal that closes ends the run in order', async () => {
    const args = ['--workers', '1', '--run-dir', 'closed', ...long];
    const terminal = await openTerminal(args, { cwd: folder(), columns: 100, rows: 30 });
    try {
      await terminal.shows(/[1-9]\d*\/1,?000,?000/);
    } finally {
      await terminal.close();
    }
    while ((await readdir(join(folder(), 'closed'))).includes('run.lock')) await sleep(50);
    expect(await eventsOf('closed')).toContainEqual(expect.objectContaining({ event: 'stopping' }));
    await expectNothingLost('closed');
  });
});

describe('a terminal that has closed', () => {
  it.skipIf(!hasTmux)('leaves the exit code as it is', async () => {
    const run = command(['--workers', '1', '--run-dir', 'deserted', ...long]);
    // The shell outlives its terminal, to say how the run ended.
    const script = `trap '' HUP; ${run} >deserted.log 2>&1; echo $? >deserted.code`;
    const socket = join(folder(), 'deserted.tmux');
    const tmux = (...words: string[]) =>
      startProgram(['tmux', '-S', socket, '-f', '/dev/null', ...words], folder()).finished;
    await tmux('new-session', '-d', '-c', folder(), 'sh', '-c', script);
    const printed = () => readFile(join(folder(), 'deserted.log'), 'utf8').catch(() => '');
    while (!/step +2\//.test(await printed())) await sleep(50);
    const lock = JSON.parse(await readFile(join(folder(), 'deserted', 'run.lock'), 'utf8')) as { pid: number };
    await tmux('kill-server');
    process.kill(lock.pid, 'SIGTERM');
    const code = () => readFile(join(folder(), 'deserted.code'), 'utf8').catch(() => '');
    while ((await code()) === '') await sleep(50);
    expect(await code()).toBe('130\n');
  });
});

describe('output that cannot be written', () => {
  const full = (args: readonly string[], redirection: string) =>
    startProgram(['sh', '-c', `exec ${command(args)} ${redirection}`], folder()).finished;

  it.each([
    ['standard output', '>/dev/full'],
    ['standard error', '2>/dev/full'],
  ])('on a full disk, %s: the run continues to its end, and says so in its events', async (name, redirection) => {
    // What cannot be written for TensorBoard is warned of.
    const shown = ['--run-dir', name, '--tensorboard', '/dev/null/none'];
    const args = ['--workers', '1', ...shown, ...set(...tiny, 'train.maxSteps=20')];
    expect((await full(args, redirection)).code).toBe(0);
    expect(await lossesOf(join(folder(), name))).toHaveLength(20);
    expect(await eventsOf(name)).toContainEqual(
      expect.objectContaining({
        event: 'warning',
        reason: expect.stringMatching(`^${name} cannot be written: the disk is full`),
      }),
    );
    await expectNothingLost(name);
  });

  it('is an error of a command whose product it is', async () => {
    const made = await launch(['--workers', '1', '--run-dir', 'model', ...set(...tiny, 'train.maxSteps=2')], folder());
    expect(made.code).toBe(0);
    const generated = await full(['generate', '--checkpoint', 'model', '--max-tokens', '20'], '>/dev/full');
    expect(generated).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/launch: standard output cannot be written: the disk is full/),
    });
  });

  it('is not an error for `prepare`, whose product is a folder', async () => {
    const args = ['prepare', join(packageRoot, 'README.md'), '--tokenizer', 'byte', '--out', 'prepared'];
    expect((await full(args, '>/dev/full')).code).toBe(0);
    expect(await readdir(join(folder(), 'prepared'))).toContain('manifest.json');
  });
});

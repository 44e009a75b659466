/** The live view in a real terminal, at two sizes: what it shows during a run, and what it leaves behind. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { set, tiny, useFolder } from './launch.ts';
import { hasTmux, openTerminal, type Terminal } from './terminal.ts';

const folder = useFolder();
let terminal: Terminal | undefined;
afterEach(async () => {
  await terminal?.close();
  terminal = undefined;
});

const rule = /^─+$/;
const ESC = '\u001b';
const sizes = [
  { columns: 80, rows: 24 },
  { columns: 200, rows: 50 },
];

if (!hasTmux) process.stderr.write('the live view is not tested: there is no tmux (apt-get install tmux)\n');

describe.skipIf(!hasTmux)('the live view in a terminal', () => {
  it.each(sizes)('shows a run, and leaves its lines in the scroll-back, at %o', async ({ columns, rows }) => {
    const runDir = `live-${columns}`;
    const overrides = set(...tiny, 'train.maxSteps=300', 'eval.everySteps=10', 'checkpoint.everySteps=100');
    const args = ['--workers', '2', '--run-dir', runDir, ...overrides];
    terminal = await openTerminal(args, { cwd: folder(), columns, rows });
    const screen = await terminal.shows(/step [1-9]\d*\/300 .*█[\s\S]*local-0001 .*computing/);
    const top = screen.findIndex((row) => rule.test(row));
    expect(screen.slice(top)).toEqual([
      '─'.repeat(columns - 1),
      expect.stringMatching(/^step \d+\/300 {2}█+░* {2} *\d+ % {2}\d:\d\d left/),
      expect.stringMatching(/^loss \d\.\d{4} {2}[▁▂▃▄▅▆▇█]+/),
      expect.stringMatching(/^lr \d\.\d\de-\d {2}grad norm \d+\.\d\d {2}[\d,]+ tokens\/s/),
      expect.stringMatching(/^rank {2}worker {6}state {12}compute {2}update {3}ring {3}wait {2}sequences$/),
      expect.stringMatching(/^ {3}0 {2}local-0000 {2}[a-z-]+ /),
      expect.stringMatching(/^ {3}1 {2}local-0001 {2}[a-z-]+ /),
    ]);
    expect(Math.max(...screen.slice(top).map((row) => row.length))).toBeLessThan(columns);

    await terminal.shows(/exit code 0/);
    const lines = await terminal.scrollBack();
    expect(lines.filter((line) => rule.test(line))).toEqual([]);
    expect(lines.filter((line) => line.startsWith('loss ') || line.startsWith('rank '))).toEqual([]);
    // Each once, in order: an evaluation every 10 steps, the checkpoints, the last step.
    const evaluated = lines.flatMap((line) => /^step +(\d+)\/300 {2}validation loss/.exec(line)?.[1] ?? []);
    expect(evaluated).toEqual(Array.from({ length: 30 }, (_, i) => String(10 * (i + 1))));
    const saved = lines.flatMap((line) => /checkpoint step-0*(\d+)$/.exec(line)?.[1] ?? []);
    expect(saved).toEqual(['100', '200', '300']);
    expect(lines.filter((line) => /^step 300\/300 {2}loss/.test(line))).toHaveLength(1);
    expect(lines.slice(-2)).toEqual([
      expect.stringMatching(new RegExp(`^done: ${runDir}. Generate more text: .* generate ${runDir}$`)),
      'exit code 0',
    ]);
    expect(await terminal.isCursorVisible()).toBe(true);
    expect(screenClears(await terminal.raw())).toEqual([]);
    // It shows exactly what is written to the files.
    const steps = readFileSync(join(folder(), runDir, 'metrics.jsonl'), 'utf8')
      .split('\n')
      .filter((line) => line.includes('"loss"'));
    const last = JSON.parse(steps.at(-1) ?? '{}') as { loss: number };
    expect(lines.find((line) => /^step 300\/300 {2}loss/.test(line))).toContain(last.loss.toFixed(4));
  });

  it('ends with Ctrl-C, and gives the cursor back', async () => {
    const overrides = set(...tiny, 'train.maxSteps=1000000');
    const args = ['--workers', '2', '--run-dir', 'interrupted', ...overrides];
    terminal = await openTerminal(args, { cwd: folder(), columns: 80, rows: 24 });
    await terminal.shows(/step [1-9]\d*\/1,000,000/);
    expect(await terminal.isCursorVisible()).toBe(false);
    await terminal.keys('C-c');
    await terminal.shows(/exit code 130/);
    const lines = await terminal.scrollBack();
    expect(lines).toContain('stopping after this step, with a checkpoint; press Ctrl-C again to stop at once');
    expect(lines.filter((line) => rule.test(line))).toEqual([]);
    expect(lines.filter((line) => line.startsWith('stopped. Resume with:'))).toHaveLength(1);
    expect(await terminal.isCursorVisible()).toBe(true);
  });

  it('ends at once with a second Ctrl-C, and gives the cursor back', async () => {
    // Steps that take long: the first Ctrl-C waits for one.
    const overrides = set(
      ...tiny,
      'train.maxSteps=100',
      'model.nEmbd=512',
      'model.nLayer=8',
      'train.globalBatchSize=4096',
    );
    const args = ['--run-dir', 'twice', ...overrides];
    terminal = await openTerminal(args, { cwd: folder(), columns: 80, rows: 24 });
    await terminal.shows(/local-0000 .*computing/);
    await terminal.keys('C-c');
    await terminal.shows(/stopping after this step/);
    await terminal.keys('C-c');
    await terminal.shows(/exit code 130/);
    expect((await terminal.scrollBack()).filter((line) => rule.test(line))).toEqual([]);
    expect(await terminal.isCursorVisible()).toBe(true);
  });

  it('ends in order on Ctrl-\\, and gives the cursor back', async () => {
    terminal = await openTerminal(
      ['--run-dir', 'quit', ...set(...tiny, 'train.maxSteps=1000000', 'comm.rejoinTimeoutMs=0')],
      {
        cwd: folder(),
        columns: 80,
        rows: 24,
      },
    );
    await terminal.shows(/step [1-9]\d*\/1,000,000/);
    await terminal.keys('C-\\');
    await terminal.shows(/exit code 130/);
    expect(await terminal.isCursorVisible()).toBe(true);
  });

  it('makes way for the shell on Ctrl-Z, and continues after fg, with its worker, even after a long time', async () => {
    const beats = ['comm.heartbeatIntervalMs=100', 'comm.heartbeatTimeoutMs=1000'];
    const args = ['--run-dir', 'stopped', ...set(...tiny, 'train.maxSteps=1000000', ...beats)];
    terminal = await openTerminal(args, { cwd: folder(), columns: 80, rows: 24 });
    await terminal.shows(/step [1-9]\d*\/1,000,000/);
    await terminal.keys('C-z');
    const screen = await terminal.shows(/Stopped/);
    expect(screen.filter((line) => rule.test(line))).toEqual([]);
    expect(await terminal.isCursorVisible()).toBe(true);
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    await terminal.keys('fg', 'Enter');
    await terminal.shows(/─\nstep [1-9]\d*\/1,000,000[\s\S]*local-0000 .*computing/);
    expect(await terminal.isCursorVisible()).toBe(false);
    await terminal.keys('C-c');
    await terminal.shows(/stopped. Resume with:/);
    expect((await terminal.scrollBack()).filter((line) => rule.test(line))).toEqual([]);
    const events = readFileSync(join(folder(), 'stopped', 'events.jsonl'), 'utf8');
    expect(events).not.toMatch(/"restart"|rewind|SIGKILL/);
  });

  it('follows the terminal when it is made narrower and wider', async () => {
    const args = ['--run-dir', 'resized', ...set(...tiny, 'train.maxSteps=1000000')];
    terminal = await openTerminal(args, { cwd: folder(), columns: 120, rows: 40 });
    await terminal.shows(/step [1-9]\d*\/1,000,000/);
    for (const [columns, rows] of [
      [60, 20],
      [40, 12],
      [150, 40],
    ] as const) {
      await terminal.resize(columns, rows);
      // An old view may come back out of the history, where tmux moved it when it broke the rows anew: nobody else can reach it.
      const viewOf = (screen: string[]) => {
        return screen.slice(screen.findIndex((row) => rule.test(row) && row.length === columns - 1));
      };
      const view = viewOf(await terminal.shows((screen) => viewOf(screen).length === 7));
      expect(view.map((row) => row.trimStart().slice(0, 4))).toEqual([
        '────',
        'step',
        'loss',
        expect.stringMatching(/^lr /),
        'rank',
        '0  l',
        '1  l',
      ]);
      expect(Math.max(...view.map((row) => row.length))).toBeLessThan(columns);
    }
    await terminal.keys('C-c');
    await terminal.shows(/exit code 130/);
    expect((await terminal.screen()).filter((line) => rule.test(line) && line.length === 149)).toEqual([]);
  });

  it('shows that a worker is lost and comes back', async () => {
    const overrides = set(...tiny, 'train.maxSteps=1000000');
    const args = ['--workers', '2', '--run-dir', 'lost', ...overrides];
    terminal = await openTerminal(args, { cwd: folder(), columns: 120, rows: 40 });
    await terminal.shows(/step [1-9]\d*\/1,000,000[\s\S]*local-0001 .*computing/);
    const pid = readFileSync(join(folder(), 'lost', 'events.jsonl'), 'utf8')
      .split('\n')
      .flatMap((line) =>
        line.includes('"join"') && line.includes('local-0001') ? (/pid (\d+)/.exec(line)?.[1] ?? []) : [],
      )[0];
    process.kill(Number(pid), 'SIGKILL');
    await terminal.shows(/- {2}local-0001 {2}restarting/);
    const screen = await terminal.shows(/local-0000 .*computing[\s\S]*local-0001 .*computing/);
    expect(screen.join('\n')).toMatch(/ago {2}rank \d \(pid \d+ on .*\) was killed by SIGKILL/);
    expect(screen.join('\n')).toMatch(/ago {2}worker local-0001 is started again/);
    await terminal.keys('C-c');
    await terminal.shows(/exit code 130/);
    const lines = await terminal.scrollBack();
    expect(lines.filter((line) => line.startsWith('warning: rank ') && line.includes('SIGKILL'))).toHaveLength(1);
  });

  it('is not there with --plain', async () => {
    const args = ['--plain', '--run-dir', 'plain', ...set(...tiny, 'train.maxSteps=5')];
    terminal = await openTerminal(args, { cwd: folder(), columns: 120, rows: 40 });
    await terminal.shows(/exit code 0/);
    const lines = await terminal.scrollBack();
    expect(lines.filter((line) => /^step \d\/5 {2}loss/.test(line))).toHaveLength(5);
    expect(await terminal.raw()).not.toContain(`${ESC}[?25l`);
  });
});

/** What clears the screen or switches to another; the `clear` before the command is not counted. */
function screenClears(raw: string): string[] {
  const ours = raw.slice(raw.indexOf(`${ESC}[?25l`));
  return ['[2J', '[3J', '[H', '[?1049h', 'c'].map((code) => ESC + code).filter((code) => ours.includes(code));
}

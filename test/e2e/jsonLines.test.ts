/** `--json` and `--quiet`: what a program that starts a run reads. */
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { launch, metricsOf, set, tiny, useFolder } from './launch.ts';

const folder = useFolder();
const overrides = set(
  ...tiny,
  'train.maxSteps=6',
  'eval.everySteps=3',
  'checkpoint.everySteps=3',
  'sample.maxTokens=5',
);

it('--json prints one object a line, with every step as metrics.jsonl has it', async () => {
  const { code, stdout, stderr } = await launch(
    ['--json', '--workers', '2', '--run-dir', 'json', ...overrides],
    folder(),
  );
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const lines = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { type: string; [field: string]: unknown });
  const of = (type: string) => lines.filter((line) => line.type === type).map(({ type: _, ...fields }) => fields);
  const metrics = await metricsOf(join(folder(), 'json'));
  expect(of('step')).toEqual(metrics.filter(({ loss }) => loss !== undefined));
  expect(of('evaluation')).toEqual(metrics.filter(({ valLoss }) => valLoss !== undefined));
  expect(of('step')).toHaveLength(6);
  expect(of('evaluation')).toHaveLength(2);
  expect(of('checkpoint')).toEqual(
    [3, 6].map((step) => ({ step, path: expect.stringContaining(`step-0000000${step}`) })),
  );
  expect(of('run')).toEqual([{ runDir: join(folder(), 'json'), maxSteps: 6, startStep: 0, stepTokens: 12 * 32 }]);
  expect(of('started')).toEqual([
    { members: [0, 1].map((rank) => expect.objectContaining({ rank, worker: expect.stringMatching(/^local-/) })) },
  ]);
  expect(of('event').map(({ event }) => event)).toEqual(expect.arrayContaining(['join', 'join', 'term']));
  expect(of('sample')).toEqual([{ text: expect.any(String) }]);
  expect(lines.at(-1)).toEqual({ type: 'exit', code: 0 });
  const types = ['message', 'warning', 'run', 'started', 'step', 'evaluation', 'checkpoint', 'event', 'sample', 'exit'];
  expect(lines.filter(({ type }) => !types.includes(type))).toEqual([]);
});

it('--json ends with the error of a run that fails', async () => {
  const { code, stdout, stderr } = await launch(['--json', '--config', 'nowhere.yaml'], folder());
  expect(code).toBe(2);
  expect(JSON.parse(stdout.trimEnd())).toEqual({
    type: 'exit',
    code: 2,
    error: expect.stringContaining('nowhere.yaml'),
  });
  expect(stderr).toContain('launch: ');
});

it('--quiet prints the last line only', async () => {
  const { code, stdout, stderr } = await launch(['--quiet', '--run-dir', 'quiet', ...overrides], folder());
  expect({ code, stdout, stderr }).toEqual({
    code: 0,
    stdout: 'done: quiet. Generate more text: npx launch generate quiet\n',
    stderr: '',
  });
});

it('FORCE_COLOR and NO_COLOR change no line that a program reads', async () => {
  const { stdout } = await launch(['--run-dir', 'colours', ...overrides], folder());
  expect(stdout).not.toContain('\u001b');
});

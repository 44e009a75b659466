/** LoRA from the command line: what a run trains, keeps and writes, through a kill, a resume, a merge and an export. */
import { readFileSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { openCheckpoint } from '../../src/checkpoint/openCheckpoint.ts';
import { launch, metricsOf, set, start, tiny, useFolder } from './launch.ts';

const folder = useFolder();
const steps = 40;
const lora = ['model.loraRank=3', 'model.loraAlpha=6', 'model.loraTargets=[c_attn, mlp.c_proj]'];
const keys = [
  'data.text=builtin',
  'train.globalBatchSize=12',
  'train.microBatchSize=4',
  'train.hashEverySteps=1',
  'train.logEverySteps=1',
  'schedule.decaySteps=40',
  'schedule.learningRate=0.02',
  'schedule.warmupSteps=0',
  'model.dropout=0.1',
  `eval.everySteps=${steps}`,
  'eval.batches=2',
  'checkpoint.everySteps=5',
  'sample.maxTokens=0',
  ...lora,
];

async function run(args: readonly string[], ...overrides: readonly string[]): Promise<string> {
  const result = await launch([...args, ...(overrides.length > 0 ? set(...overrides) : [])], folder());
  expect(result, result.stderr).toMatchObject({ code: 0, orphans: [] });
  return result.stdout;
}

const checkpointOf = (name: string, step: number) =>
  join(folder(), name, 'checkpoints', `step-${String(step).padStart(8, '0')}`);

async function tensorsOf(path: string): Promise<Map<string, Buffer>> {
  const checkpoint = await openCheckpoint(path);
  const tensors = new Map<string, Buffer>();
  for (const { name } of checkpoint.tensors) {
    const chunks: Uint8Array[] = [];
    for await (const chunk of checkpoint.stream('model', [name])) chunks.push(chunk);
    tensors.set(name, Buffer.concat(chunks));
  }
  return tensors;
}

const isAdapter = (name: string) => /\.lora_[AB]\.weight$/.test(name);

beforeAll(async () => {
  await run(
    ['--workers', '1', '--run-dir', 'base'],
    ...tiny,
    'train.maxSteps=20',
    'eval.everySteps=20',
    'eval.batches=2',
  );
  await run(['--workers', '2', '--init-from', 'base', '--run-dir', 'straight'], ...keys, `train.maxSteps=${steps}`);
});

it('begins as its base, trains the adapters alone, and lowers the loss', async () => {
  const [base, straight] = await Promise.all(['base', 'straight'].map((name) => metricsOf(join(folder(), name))));
  const [begun, ended] = [straight![0]!, straight!.at(-1)!];
  expect(begun).toMatchObject({ step: 0, valLoss: base!.at(-1)!.valLoss });
  expect(ended.valLoss!).toBeLessThan(begun.valLoss! - 0.01);
  const [before, after] = [await tensorsOf(checkpointOf('base', 20)), await tensorsOf(checkpointOf('straight', steps))];
  for (const [name, bytes] of before) expect(after.get(name)!.equals(bytes), name).toBe(true);
  const added = [...after.keys()].filter((name) => !before.has(name));
  expect(added).toHaveLength(2 * 2 * 2);
  expect(added.every(isAdapter)).toBe(true);
  const { moments } = await openCheckpoint(checkpointOf('straight', steps));
  expect([...moments].sort()).toEqual(added.sort());
  const config = JSON.parse(await readFile(join(checkpointOf('straight', steps), 'config.json'), 'utf8'));
  expect(config).toMatchObject({ model_type: 'lockstep', lockstep: { model: { loraRank: 3 } } });
  expect(config.architectures).toBeUndefined();
});

it('gives the same bytes after kill -9 and --resume, and refuses other adapters', async () => {
  const args = ['--workers', '2', '--init-from', 'base', '--run-dir', 'killed'];
  const running = start([...args, ...set(...keys, `train.maxSteps=${steps}`)], folder());
  await running.printed(/^step +12\b/m);
  running.process.kill('SIGKILL');
  await running.finished;
  // The workers notice that nobody coordinates them any more.
  while ((await running.descendants()).length > 0) await new Promise((resolve) => setTimeout(resolve, 20));
  for (const [override, message] of [
    ['model.loraRank=4', /has model\.loraRank = 3, but the config says 4: a run resumes with its own model/],
    ['model.from=straight', /a resumed run has its own weights: omit model\.from/],
  ] as const) {
    const refused = await launch(['--resume', 'killed', ...set(override)], folder());
    expect(refused).toMatchObject({ code: 2, stderr: expect.stringMatching(message) });
  }
  await run(['--resume', 'killed']);
  for (const file of ['model.safetensors', 'optimizer.safetensors']) {
    const [killed, straight] = ['killed', 'straight'].map((name) =>
      readFileSync(join(checkpointOf(name, steps), file)),
    );
    expect(killed!.equals(straight!), file).toBe(true);
  }
});

it('merges and exports, and each folder computes as the run', async () => {
  expect(await run(['merge', 'straight', '--out', 'merged'])).toBe('merged\n');
  expect(await run(['export', 'straight', '--out', 'adapter'])).toBe('adapter\n');
  const again = await launch(['merge', 'straight', '--out', 'merged'], folder());
  expect(again).toMatchObject({ code: 2, stderr: expect.stringContaining('merged already exists') });
  writeFileSync(join(folder(), 'text.txt'), 'To be, or not to be.\n'.repeat(50));
  const evaluate = async (checkpoint: string) =>
    JSON.parse(await run(['eval', '--checkpoint', checkpoint, '--data', 'text.txt', '--json'])) as { loss: number };
  const { loss } = await evaluate('straight');
  expect((await evaluate('merged')).loss).toBe(loss);
  expect((await evaluate('adapter')).loss).toBe(loss);
  expect(loss).not.toBe((await evaluate('base')).loss);
  // A run that continues adapters exports them with the base of these, which has none.
  const more = ['--workers', '1', '--init-from', 'adapter', '--run-dir', 'continued'];
  await run(more, ...keys.filter((key) => !key.startsWith('model.lora')), 'train.maxSteps=1');
  await run(['export', 'continued', '--out', 'further']);
  const { base_model_name_or_path: base } = JSON.parse(
    readFileSync(join(folder(), 'further/adapter_config.json'), 'utf8'),
  );
  expect(base).toBe(checkpointOf('base', 20));
  expect((await evaluate('further')).loss).toBe((await evaluate('continued')).loss);
  // Trained further: an adapter continues as one, and merged weights are weights like any others.
  const plan = ['--dry-run', ...set('train.maxSteps=5', 'data.text=builtin')];
  const trained = 2 * (3 * (32 + 96) + 3 * (128 + 32));
  expect(await run(['--init-from', 'adapter', ...plan])).toContain(`${trained.toLocaleString('en')} of them trained`);
  expect(await run(['--init-from', 'merged', ...plan])).not.toContain('of them trained');
  const other = await launch(['--init-from', 'straight', ...plan, 'model.loraRank=8'], folder());
  expect(other).toMatchObject({ code: 2, stderr: expect.stringMatching(/have adapters with 3: .* first merge them/) });
});

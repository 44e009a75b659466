/**
 * The three steps to ChatGPT, at a small scale. After `npm run build`, in a few minutes on two cores:
 *
 *   node build/examples/assistant/main.js [seeds]
 *
 * Each step is a command, which is printed and can be typed by hand; a step that is complete is not repeated. The last one is done once
 * per seed (default: 1). The guide is docs/guide/assistant.md.
 */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeData } from './makeData.ts';
import { type Measured, meanAndDeviation, measure } from './measure.ts';
import { runToEnd } from './runToEnd.ts';

const folder = 'runs/assistant';
const lockstep = dirname(dirname(fileURLToPath(import.meta.resolve('lockstep'))));
const seedCount = Number(process.argv[2] ?? 1);
if (!(Number.isInteger(seedCount) && seedCount >= 1)) throw new Error('expected a number of seeds: main.js 5');
const seeds = Array.from({ length: seedCount }, (_, i) => i + 1);
const kinds = ['ppo', 'grpo'] as const;
const run = (name: string) => `${folder}/${name}`;

async function launch(...args: string[]): Promise<void> {
  console.log(`\n$ npx launch ${args.join(' ')}`);
  const status = await runToEnd(process.execPath, [join(lockstep, 'dist/cli/main.js'), ...args]);
  if (status !== 0) process.exit(status);
}

/** Trains a model in `runs/assistant/NAME`. */
async function train(name: string, config: string, ...more: string[]): Promise<void> {
  const file = relative('', join(lockstep, 'examples/assistant', `${config}.yaml`));
  if (existsSync(run(name))) await launch('--resume', run(name));
  else await launch('--config', file, '--run-dir', run(name), ...more);
}

makeData(run('data'));

// Before step 1: a language model, which continues texts of its books.
await train('base', 'pretrain');

// Step 1: fine-tune it on demonstrations. It now answers questions, as well and as badly as the people who wrote them.
await train('sft', 'sft', '--init-from', run('base'));

// Step 2: learn from comparisons of two answers which ones people like.
await train('reward', 'reward', '--init-from', run('sft'));

// Step 3: let the model of step 1 answer questions, and learn to write answers that the model of step 2 likes.
for (const kind of kinds) {
  for (const seed of seeds)
    await train(`${kind}-${seed}`, kind, '--init-from', run('sft'), '--set', `train.seed=${seed}`);
}

const trained = kinds.flatMap((kind) => seeds.map((seed) => run(`${kind}-${seed}`)));
await launch('plot', ...trained, '--metric', 'reward', '--out', run('reward.svg'));
await launch('plot', ...trained, '--metric', 'rolloutKl', '--out', run('kl.svg'));

// Answers to questions that nobody has asked before: what the reward model and the annotators say about them.
const before: Measured[] = [];
for (const seed of seeds) before.push(await measure(run('sft'), { seed, rewardModel: run('reward') }));
for (const kind of kinds) {
  const after: Measured[] = [];
  for (const seed of seeds) after.push(await measure(run(`${kind}-${seed}`), { seed, rewardModel: run('reward') }));
  printComparison(kind, after);
}

function printComparison(kind: (typeof kinds)[number], after: readonly Measured[]): void {
  console.log(
    `\n${kind.toUpperCase()}, means of ${before[0]!.answers.length} answers; ± is the standard deviation over ${seeds.length} seeds`,
  );
  const rows = {
    'learned reward': 'reward',
    'what annotators like': 'quality',
    'right answers': 'right',
    'friendly answers': 'friendly',
  } as const;
  for (const [label, key] of Object.entries(rows) as [string, (typeof rows)[keyof typeof rows]][]) {
    const [from, to] = [before, after].map((runs) => meanAndDeviation(runs.map((measured) => measured[key])));
    console.log(`  ${label.padEnd(21)} ${from!.text} before, ${to!.text} after`);
  }
  const [from, to] = [before, after].map((runs) => meanAndDeviation(runs.map(({ reward }) => reward)));
  const larger = Math.max(from!.deviation, to!.deviation);
  if (seeds.length > 1)
    console.log(
      `  the reward rises by ${((to!.mean - from!.mean) / larger).toFixed(1)} of the larger standard deviation`,
    );
  console.log(
    `  largest KL divergence of an iteration ${Math.max(...seeds.flatMap((seed) => divergences(run(`${kind}-${seed}`)))).toFixed(3)}`,
  );
  for (let i = 0; i < 5; i++) {
    const [old, now] = [before[0]!.answers[i]!, after[0]!.answers[i]!];
    console.log(`  ${old.prompt.trim().padEnd(28)} ${old.completion.padEnd(40)} -> ${now.completion}`);
  }
}

/** The KL divergence of each iteration, in nats per token. */
function divergences(path: string): number[] {
  const lines = readFileSync(join(path, 'metrics.jsonl'), 'utf8').trim().split('\n');
  return lines.flatMap((line) => (JSON.parse(line) as { means?: { rolloutKl?: number } }).means?.rolloutKl ?? []);
}

/** `npm run bench -- training`: the same training steps in Lockstep and in other libraries, in one run. */
import type { CommandModule } from 'yargs';
import { UserError } from '../../src/base/errors.ts';
import { numberOption } from '../../src/cli/options.ts';
import { statusLine } from '../../src/cli/terminal.ts';
import { modelOf } from '../../src/config/groups/model.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { EnginePrecision } from '../../src/engine/precision.ts';
import { type NamedShape, runTrainingPeers, type TrainingPeersListener, trainingTable } from './trainingPeers.ts';

interface BenchTrainingArguments {
  shapes: string;
  engine: 'native' | 'webgpu';
  threads: number;
  precision: EnginePrecision | 'both';
  python: string;
  compiled: boolean;
  seconds: number;
  json: boolean;
}

/** Shipped configs, and what of them is made smaller so that a step takes seconds; all sequences in one pass. */
const shapes: Readonly<Record<string, { config: string; vocabSize: number; batch: number; blockSize: number }>> = {
  'shakespeare-char': { config: 'shakespeare-char', vocabSize: 65, batch: 12, blockSize: 64 },
  'shakespeare-gpt': { config: 'shakespeare-gpt', vocabSize: 65, batch: 16, blockSize: 256 },
  'gpt2-t64': { config: 'gpt-small', vocabSize: 50257, batch: 4, blockSize: 64 },
  'gpt2-t256': { config: 'gpt-small', vocabSize: 50257, batch: 2, blockSize: 256 },
};

export const benchTrainingCommand: CommandModule<unknown, BenchTrainingArguments> = {
  command: 'training',
  describe:
    'Time the same training steps in Lockstep and in PyTorch, or on a GPU in TensorFlow.js and jax-js, in turns',
  builder: (yargs) =>
    yargs
      .option('shapes', {
        type: 'string',
        default: Object.keys(shapes).join(','),
        requiresArg: true,
        describe: 'What is trained, with commas between',
      })
      .option('engine', {
        choices: ['native', 'webgpu'] as const,
        default: 'native' as const,
        describe: 'webgpu: on a GPU, beside TensorFlow.js and jax-js where they are installed',
      })
      .option('threads', {
        type: 'number',
        default: 0,
        describe: 'Threads; 0: one per core. PyTorch may take 1 instead',
      })
      .option('precision', {
        choices: ['both', 'float32', 'bf16', 'f16'] as const,
        default: 'both' as const,
        describe: 'both: float32 and bf16, or f16 with webgpu. PyTorch uses autocast for bf16',
      })
      .option('python', { type: 'string', default: 'python3', describe: 'A Python that has torch, version 2 or later' })
      .option('compiled', { type: 'boolean', default: true, describe: 'Also time PyTorch with torch.compile' })
      .option('seconds', { type: 'number', default: 20, describe: 'About how long each shape is timed' })
      .option('json', { type: 'boolean', default: false, describe: 'Print one JSON object' })
      .example('npm run bench -- training', 'every shape')
      .example(
        'npm run bench -- training --shapes shakespeare-gpt --python ~/venv/bin/python',
        'one, with another PyTorch',
      ),
  handler: async ({ shapes: names, engine, threads, precision, python, compiled, seconds, json }) => {
    const report = await runTrainingPeers(
      {
        shapes: names.split(',').map(shapeOf),
        engine,
        threads: numberOption('threads', threads, { min: 0, max: 256, whole: true }),
        python,
        compiled,
        precisions: precisionsOf(precision, engine === 'native' ? 'bf16' : 'f16'),
        secondsPerShape: numberOption('seconds', seconds, { min: 0, max: 86_400 }),
      },
      json ? progress() : { ...progress(), ...printer() },
    );
    if (json) process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
    else process.stdout.write(report.missing.map((note) => `${note}\n`).join(''));
  },
};

/** @param half what the engine has besides float32 */
function precisionsOf(precision: BenchTrainingArguments['precision'], half: EnginePrecision): EnginePrecision[] {
  if (precision === 'both') return ['float32', half];
  if (precision === 'float32' || precision === half) return [precision];
  throw new UserError(`--precision: bf16 is for the native engine and f16 for webgpu; expected float32 or ${half}`);
}

function shapeOf(name: string): NamedShape {
  const shape = shapes[name];
  if (shape === undefined) {
    throw new UserError(
      `--shapes: expected some of ${Object.keys(shapes).join(',')}, received ${JSON.stringify(name)}`,
    );
  }
  const { config, vocabSize, batch, blockSize } = shape;
  const overrides = {
    'model.vocabSize': vocabSize,
    'model.blockSize': blockSize,
    'train.globalBatchSize': batch,
    'train.microBatchSize': batch,
  };
  const { model, train, optimizer } = loadConfig({
    file: `${config}.yaml`,
    overrides: Object.entries(overrides).map(([key, value]) => `${key}=${value}`),
    cwd: process.cwd(),
  }).config;
  return { name, model: modelOf(model, model.vocabSize), train, optimizer };
}

function progress(): TrainingPeersListener {
  let current = '';
  let status = statusLine('');
  return {
    progress: (what, done) => {
      if (what !== current) status = statusLine(what);
      current = what;
      status(done);
    },
  };
}

function printer(): TrainingPeersListener {
  let table: ReturnType<typeof trainingTable>;
  return {
    started: (machine, names) => {
      table = trainingTable(machine, names);
      process.stdout.write(table.heading);
    },
    measured: (results) => process.stdout.write(table.rows(results)),
  };
}

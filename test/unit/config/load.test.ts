import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { UserError } from '../../../src/base/errors.ts';
import type { Config } from '../../../src/config/configTypes.ts';
import { configGroups, nearestKey } from '../../../src/config/keys.ts';
import { loadConfig, parseConfig } from '../../../src/config/load.ts';
import { shippedConfigs } from '../../../src/config/locate.ts';
import { storedConfig } from '../../../src/config/renamedKeys.ts';
import { renderConfig } from '../../../src/config/render.ts';
import { configSchema } from '../../../src/config/schema.ts';

let cwd: string;
beforeAll(() => {
  cwd = mkdtempSync(join(tmpdir(), 'lockstep-config-'));
});
afterAll(() => {
  rmSync(cwd, { recursive: true });
});

/** The message of the UserError that loading gives. */
function refusal(load: () => unknown): string {
  try {
    load();
  } catch (error) {
    expect(error).toBeInstanceOf(UserError);
    return (error as UserError).message;
  }
  throw new Error('expected a UserError');
}
const parse = (text: string, overrides: string[] = []): Config => parseConfig({ text, name: 'my.yaml', overrides });
const refused = (text: string, overrides: string[] = []): string => refusal(() => parse(text, overrides));

it('takes a key by the name that it had before in a file and on the command line', () => {
  expect(parse('train:\n  leases: proportional\n').train.batchSplit).toBe('proportional');
  expect(refused('train:\n  leases: fair\n')).toMatch(/^my.yaml:2: train.batchSplit: expected/);
  expect(refused('train:\n  leases: equal\n  batchSplit: equal\n')).toContain(
    'unknown key train.leases. Did you mean train.batchSplit?',
  );
  expect(parse('train:\n  leases: equal\n', ['train.leases=proportional']).train.batchSplit).toBe('proportional');
  expect(refused('', ['train.leases=fair'])).toMatch(/^overrides: train.leases=fair: train.batchSplit: expected/);
  writeFileSync(join(cwd, 'old.yaml'), 'train:\n  leases: equal\nengine:\n  name: tfjs\n');
  expect(loadConfig({ file: 'old.yaml', overrides: ['engine.device=wasm'], cwd }).chosen).toEqual([
    'train.batchSplit',
    'engine.name',
    'engine.deviceKind',
  ]);
});

it('says what to set instead of a value that is gone, and reads it in the config of an old run', () => {
  const problem =
    /expected one of auto, tensorflow, wasm, cpu, received "webgpu". Set engine.name to webgpu and .* instead.$/;
  expect(refused('engine:\n  name: tfjs\n  deviceKind: webgpu\n')).toMatch(problem);
  expect(refused('', ['engine.name=tfjs', 'engine.device=webgpu'])).toMatch(problem);
  for (const key of ['device', 'deviceKind']) {
    const stored = { train: { maxSteps: 7 }, engine: { name: 'tfjs', [key]: 'webgpu' } };
    expect(storedConfig(stored)).toEqual({ train: { maxSteps: 7 }, engine: { name: 'webgpu', deviceKind: 'auto' } });
  }
  expect(storedConfig({ engine: { name: 'tfjs', deviceKind: 'wasm' } })).toEqual({
    engine: { name: 'tfjs', deviceKind: 'wasm' },
  });
});

it.each([
  ['f16', 'native', 'webgpu engine'],
  ['f16', 'tfjs', 'webgpu engine'],
  ['bf16', 'webgpu', 'native engine'],
])('precision %s is refused with the engine %s', (precision, name, owner) => {
  expect(refused(`engine:\n  name: ${name}\n  precision: ${precision}\n`)).toContain(
    `engine.precision = "${precision}" is for the ${owner} only, but there is engine.name = "${name}"`,
  );
});

it('norms after each branch are refused with bf16, which keeps only the stream of other models in float32', () => {
  const translator = 'model:\n  architecture: encoderDecoder\n';
  expect(refused(`${translator}engine:\n  precision: bf16\n`)).toContain('there is model.normPlace = "post"');
  const model = 'model:\n  architecture: transformer\n  norm: layer\n  normPlace: post\n';
  expect(refused(`${model}engine:\n  precision: bf16\n`)).toMatch(
    /^my.yaml:6: engine.precision = "bf16" is for norms before each branch, .* there is model.normPlace = "post"/,
  );
  expect(parse(model).engine.precision).toBe('float32');
});

it('ppo needs an architecture with a value head, which gpt2 and transformer have', () => {
  const task =
    'task:\n  kind: ppo\n  reward: ended\ndata:\n  examples: a.jsonl\neval:\n  everySteps: 0\ntrain:\n  globalBatchSize: 8\n  microBatchSize: 8\n';
  for (const name of ['gpt2', 'transformer']) {
    expect(parse(`model:\n  architecture: ${name}\n${task}`).model.architecture).toBe(name);
  }
  expect(refused(`${task}model:\n  architecture: bigram\n`)).toMatch(
    /task.kind = "ppo" needs a model with a value head/,
  );
});

it('takes a kind of device where it was written before there were indices', () => {
  const { engine } = parse('engine:\n  name: tfjs\n  device: cpu\n');
  expect(engine).toMatchObject({ deviceKind: 'cpu', device: 'auto' });
  expect(parse('engine:\n  device: auto\n').engine.device).toBe('auto');
  expect(parse('engine:\n  device: 1\n').engine).toMatchObject({ deviceKind: 'auto', device: 1 });
  expect(refused('engine:\n  name: native\n  device: wasm\n')).toMatch(/^my.yaml:3: engine.deviceKind = "wasm" is for/);
  const set = (value: string) => parse('engine:\n  name: tfjs\n  deviceKind: cpu\n', [`engine.device=${value}`]).engine;
  expect(set('wasm')).toMatchObject({ deviceKind: 'wasm', device: 'auto' });
  expect(set('1')).toMatchObject({ deviceKind: 'cpu', device: 1 });
  expect(set('auto')).toMatchObject({ deviceKind: 'cpu', device: 'auto' });
  expect(refused('', ['engine.device=toaster'])).toMatch(
    /^overrides: engine.device=toaster: engine.deviceKind: expected one of .*, received "toaster"/,
  );
  expect(refused('', ['engine.device=-1'])).toContain('engine.device: expected auto or a whole number from 0 to 1023');
});

describe('shipped configs', () => {
  it.each(['quickstart', 'shakespeare-char', 'shakespeare-gpt', 'gpt-small', 'dpo', 'reward', 'grpo', 'ppo'])(
    '%s is shipped and loads',
    (name) => {
      expect(shippedConfigs()).toContain(name);
      const withoutEnding = loadConfig({ file: name, cwd });
      expect(withoutEnding.config).toEqual(loadConfig({ file: `${name}.yaml`, cwd }).config);
      expect(withoutEnding.source).toMatch(new RegExp(`${name}\\.yaml$`));
    },
  );

  it('has the sizes of GPT-2 small', () => {
    const { model, data } = loadConfig({ file: 'gpt-small.yaml', cwd }).config;
    expect(model).toMatchObject({ nLayer: 12, nHead: 12, nEmbd: 768, blockSize: 1024, bias: true, tiedHead: true });
    expect(data.tokenizer).toBe('gpt2');
  });

  it('runs quickstart when no config is named', () => {
    const { suggested, ...named } = loadConfig({ file: 'quickstart.yaml', cwd });
    expect(loadConfig({ cwd })).toEqual({ ...named, suggested: [] });
    expect(suggested).toContain('model.nLayer');
  });
});

describe('finding a config', () => {
  it('takes a file of the working folder before the shipped one of the same name', () => {
    const folder = mkdtempSync(join(cwd, 'own-'));
    writeFileSync(join(folder, 'quickstart.yaml'), 'train:\n  maxSteps: 7\n');
    expect(loadConfig({ file: 'quickstart', cwd: folder })).toMatchObject({
      config: { train: { maxSteps: 7 } },
      source: 'quickstart.yaml',
    });
  });

  it('resolves a path against the working folder, and does not take a shipped one for it', () => {
    mkdirSync(join(cwd, 'sub'), { recursive: true });
    writeFileSync(join(cwd, 'sub', 'a.yaml'), 'train:\n  maxSteps: 8\n');
    expect(loadConfig({ file: 'sub/a', cwd }).config.train.maxSteps).toBe(8);
    expect(loadConfig({ file: join(cwd, 'sub', 'a.yaml'), cwd: tmpdir() }).config.train.maxSteps).toBe(8);
    expect(refusal(() => loadConfig({ file: './quickstart.yaml', cwd }))).toContain('not found');
    expect(refusal(() => loadConfig({ file: 'x'.repeat(5000), cwd }))).toMatch(
      /cannot be read \(its name is too long \(ENAMETOOLONG/,
    );
    expect(refusal(() => loadConfig({ file: 'a\0b', cwd }))).toContain('expected a path without a zero byte');
  });

  it('lists the shipped configs and the nearest of them for a name that does not exist', () => {
    const message = refusal(() => loadConfig({ file: 'gpt-smal.yaml', cwd }));
    expect(message).toContain('Did you mean gpt-small?');
    expect(message).toContain(shippedConfigs().join(', '));
  });

  it('refuses a file that is too long or not UTF-8', () => {
    writeFileSync(join(cwd, 'long.yaml'), '#'.repeat(300_000));
    writeFileSync(join(cwd, 'binary.yaml'), new Uint8Array([0x6d, 0xff, 0xfe]));
    expect(refusal(() => loadConfig({ file: 'long.yaml', cwd }))).toMatch(
      /long\.yaml: expected a config of at most 262144 bytes, received 300000/,
    );
    expect(refusal(() => loadConfig({ file: 'binary.yaml', cwd }))).toContain('not UTF-8');
  });
});

describe('what is wrong, and where', () => {
  it('says which architecture a key of another one belongs to, and where the architecture was chosen', () => {
    const keys = 'model:\n  architecture: bigram\n  nLayer: 4\n';
    expect(refused(keys)).toBe(
      'my.yaml:3: model.nLayer needs model.architecture: gpt2 or transformer or encoderDecoder, but it is "bigram" (my.yaml:2).',
    );
    expect(refused('model:\n  nHead: 2\n', ['model.architecture=bigram'])).toBe(
      'my.yaml:2: model.nHead needs model.architecture: gpt2 or transformer or encoderDecoder, but it is "bigram" (overrides: model.architecture=bigram).',
    );
    expect(refused('model:\n  architecture: bigrams\n')).toBe(
      'my.yaml:2: model.architecture: expected one of gpt2, bigram, transformer, encoderDecoder, received "bigrams".',
    );
    expect(refused('model:\n  architecture: bigram\n  block_size: 4\n')).toBe(
      'my.yaml:3: unknown key model.block_size. Did you mean model.blockSize?',
    );
  });

  it("takes an architecture's keys, and the default's where none is named", () => {
    expect(parse('model:\n  architecture: bigram\n  blockSize: 8\n').model).toEqual({
      architecture: 'bigram',
      from: '',
      blockSize: 8,
      vocabSize: 0,
    });
    expect(parse('model:\n  blockSize: 8\n').model).toMatchObject({ architecture: 'gpt2', blockSize: 8, nLayer: 4 });
  });

  it('names file, line and nearest key for an unknown key', () => {
    expect(refused('model:\n  nLayer: 4\n  nHeads: 4\n')).toBe(
      'my.yaml:3: unknown key model.nHeads. Did you mean model.nHead?',
    );
    expect(refused('model:\n  n_layer: 4\n')).toBe('my.yaml:2: unknown key model.n_layer. Did you mean model.nLayer?');
    expect(refused('# a\nmodle:\n  nLayer: 4\n')).toBe('my.yaml:2: unknown key modle. Did you mean model?');
    expect(refused('nLayer: 4\n')).toBe('my.yaml:1: unknown key nLayer. Did you mean model.nLayer?');
    expect(refused('model:\n  maxSteps: 4\n')).toBe(
      'my.yaml:2: unknown key model.maxSteps. Did you mean train.maxSteps?',
    );
    expect(refused('zzzzzzzz: 4\n')).toContain('my.yaml:1: unknown key zzzzzzzz. Groups: model, data, task, train');
  });

  it('takes every name of a tokenizer', () => {
    for (const name of [
      'char',
      'byte',
      'o200k',
      'bpe:257',
      'bpe:8000',
      './t5',
      'a/tokenizer.json',
      'my.json',
    ] as const) {
      expect(parse('', [`data.tokenizer=${name}`]).data.tokenizer).toBe(name);
    }
  });

  it('names what was expected and what came for a wrong type or value', () => {
    expect(refused('model:\n  nLayer: four\n')).toBe(
      'my.yaml:2: model.nLayer: expected a whole number from 1 to 512, received "four".',
    );
    expect(refused('model:\n  nLayer: 1.5\n')).toContain(
      'model.nLayer: expected a whole number from 1 to 512, received 1.5',
    );
    expect(refused('model:\n  nLayer: 0\n')).toContain('received 0');
    expect(refused('model:\n  nLayer: null\n')).toContain('received nothing (null)');
    expect(refused('model:\n  bias: no\n')).toContain('model.bias: expected true or false, received "no"');
    expect(refused('model:\n  dropout: .nan\n')).toContain(
      'model.dropout: expected a number from 0 to 0.95, received NaN',
    );
    expect(refused('schedule:\n  learningRate: .inf\n')).toContain('received Infinity');
    for (const name of ['bert', 'bpe', 'bpe:256', 'bpe:8k', 'gpt2,']) {
      expect(refused(`data:\n  tokenizer: ${name}\n`), name).toContain(
        'my.yaml:2: data.tokenizer: expected one of char, byte, gpt2, cl100k, o200k, bpe:N with N from 257 to 1000000 tokens',
      );
    }
    expect(refused('data:\n  tokenizer: bert\n')).toContain('(with a / in it), received "bert".');
    expect(refused('data:\n  tokenizer: 7\n')).toContain('received 7.');
    expect(refused('data:\n  text: []\n')).toContain('received an empty list');
    expect(refused('data:\n  text: [a, 3]\n')).toContain(
      'expected builtin, or a path, folder or glob, or a list of them',
    );
    expect(refused('train: 7\n')).toBe('my.yaml:1: train: expected a group of keys, indented below it, received 7.');
    expect(refused('train: [1]\n')).toContain('received [1]');
    expect(refused('data:\n  shards: [a, b]\n  weights: [1]\n')).toBe(
      'my.yaml:3: data.weights = [1] must have one number for each folder in data.shards = ["a","b"] (my.yaml:2).',
    );
  });

  it('reports several problems at once, but not hundreds', () => {
    expect(refused('model:\n  nLayer: 0\n  bais: true\n').split('\n')).toHaveLength(2);
    const many = Array.from({ length: 100 }, (_, i) => `key${i}: 1`).join('\n');
    expect(refused(many).split('\n')).toHaveLength(9);
  });

  it('names both keys, and where each came from, when two do not fit each other', () => {
    expect(refused('model:\n  nEmbd: 100\n  nHead: 3\n')).toBe(
      'my.yaml:2: model.nEmbd = 100 must be divisible by model.nHead = 3 (my.yaml:3).',
    );
    expect(refused('model:\n  nEmbd: 100\n', ['model.nHead=3'])).toBe(
      'my.yaml:2: model.nEmbd = 100 must be divisible by model.nHead = 3 (overrides: model.nHead=3).',
    );
    expect(refused('model:\n  nHead: 3\n')).toContain('default: model.nEmbd = 128 must be divisible');
    expect(refused('train:\n  trainable: [transformer.h.3.*, h.4.*]\n')).toBe(
      'my.yaml:2: train.trainable = ["transformer.h.3.*","h.4.*"] must match parameters of model.architecture = "gpt2" (default): h.4.* is the ' +
        'name of none that can be trained; there are transformer.wte.weight, transformer.wpe.weight, transformer.h.0.ln_1.weight, ' +
        'transformer.h.0.ln_1.bias, transformer.h.0.attn.c_attn.weight, transformer.h.0.attn.c_attn.bias, ….',
    );
    expect(refused('train:\n  trainable: head\nmodel:\n  tiedHead: false\n', ['optimizer.kind=muon'])).toContain(
      'train.trainable "head" trains no weight matrix of a block. Set optimizer.kind to adamw',
    );
    expect(refused('model:\n  architecture: bigram\n', ['optimizer.kind=muon'])).toContain(
      'must have matrices to update in the blocks of model.architecture = "bigram" (my.yaml:2): it has no blocks with weight matrices. Set',
    );
    expect(refused('model:\n  loraRank: 4\n', ['optimizer.kind=muon'])).toContain(
      'the run trains adapters (model.loraRank), which AdamW updates. Set optimizer.kind to adamw',
    );
    expect(refused('model:\n  architecture: bigram\n', ['train.trainable=*.bias'])).toContain(
      'there are table.weight.',
    );
    expect(refused('train:\n  globalBatchSize: 10\n  microBatchSize: 4\n')).toContain(
      'must be divisible by train.microBatchSize = 4',
    );
    expect(refused('train:\n  globalBatchSize: 3\n  microBatchSize: 1\n', ['train.workers=4'])).toContain(
      'overrides: train.workers=4',
    );
    expect(refused('schedule:\n  minLearningRate: 1\n')).toContain(
      'must not be above schedule.learningRate = 0.001 (default)',
    );
    const long = (...more: string[]) => [
      ...['task.kind=grpo', 'data.examples=rows.jsonl', 'eval.everySteps=0', 'model.dropout=0'],
      ...[
        'train.globalBatchSize=16',
        'train.microBatchSize=16',
        'model.blockSize=2048',
        'task.maxTokens=65536',
        ...more,
      ],
    ];
    expect(refused('', long('task.group=512'))).toMatch(
      /task.group = 512 must let the answers to one prompt fit in a message with task.maxTokens = 65536 .*: 512 answers of up to 2048 tokens are 12.01 MiB, above 7.94 MiB. Lower task.group or task.maxTokens/,
    );
    expect(parse('', long('task.group=256')).task.group).toBe(256);
    expect(parse('', ['task.group=512', 'task.maxTokens=65536', 'model.blockSize=2048']).task.kind).toBe('lm');
    expect(refused('engine:\n  name: native\n  deviceKind: wasm\n')).toContain('for the tfjs engine only');
    expect(refused('comm:\n  heartbeatTimeoutMs: 1500\n')).toContain('at least twice');
    expect(refused('comm:\n  bucketBytesMax: 1024\n')).toContain('must be at least comm.chunkBytes');
    expect(refused('comm:\n  chunkBytes: 1022\n')).toContain('comm.chunkBytes: expected');
  });

  it('refuses keys of rows without rows, and keys that rows do not have', () => {
    expect(refused('task:\n  kind: sft\n')).toBe(
      'my.yaml:2: task.kind = "sft" needs rows to learn from, but there is data.examples = an empty list (default).',
    );
    expect(refused('train:\n  epochs: 2\n')).toContain('train.epochs = 2 counts how often each row is used, but');
    expect(refused('data:\n  columns: [label, text]\n')).toContain('is for tables of rows, but there is data.examples');
    expect(refused('task:\n  pack: true\n')).toContain('needs rows to pack, but there is data.examples');
    const rows = 'data:\n  examples: rows.jsonl\n';
    expect(refused(rows, ['data.shards=tokens'])).toBe(
      'my.yaml:2: data.examples = "rows.jsonl" replaces text and shards, but there is data.shards = "tokens" (overrides: data.shards=tokens).',
    );
    expect(refused(rows, ['data.field=body'])).toContain('is for text only, but there is data.examples');
    expect(refused(rows, ['data.format=text'])).toContain('has no rows, but there is data.examples');
    expect(refused(rows, ['task.kind=classify', 'task.pack=true'])).toContain('is for lm and sft only, but there is');
    expect(refused(rows, ['task.kind=chat'])).toContain('one of lm, sft, classify, seq2seq, dpo, reward');
  });

  it('refuses YAML that is broken, doubled, aliased or nested without end', () => {
    expect(refused('model:\n  nLayer: 4\n nHead: 2\n')).toMatch(/^my\.yaml:3: not valid YAML/);
    expect(refused('model:\n  nLayer: 4\n  nHead: 4\n  nLayer: 5\n')).toBe(
      'my.yaml:4: duplicate key; remove one of the two.',
    );
    expect(refused('model: {}\n---\nmodel: {}\n')).toMatch(/^my\.yaml:2: expected one YAML document/);
    expect(refused('model: &m\n  nLayer: 4\ntrain: *m\n')).toMatch(/^my\.yaml:3: YAML aliases are not supported/);
    expect(refused('data:\n  text: *.txt\n')).toContain('a string that starts with * needs quotes');
    expect(refused('model: !!js/function x\n')).toMatch(/^my\.yaml:1: not valid YAML/);
    expect(refused('[model]\n')).toContain('expected groups of keys (model:, train:, ...), received a list');
    expect(refused('hello\n')).toContain('received the text "hello"');
    expect(refused('['.repeat(50_000))).toMatch(/^my\.yaml.* not valid YAML/);
    expect(refused('{a: '.repeat(20_000))).toMatch(/^my\.yaml.* not valid YAML/);
    expect(refused('__proto__:\n  nLayer: 4\n')).toContain('unknown key __proto__');
    expect(refused('model:\n  __proto__: 4\n')).toBe('my.yaml:2: unknown key __proto__.');
    expect(refused('1: 2\n')).toMatch(/^my\.yaml:1: /);
  });

  it('takes a group whose keys are all commented out, and an empty file, as the defaults', () => {
    expect(parse('model:\n  # nLayer: 4\n')).toEqual(configSchema.parse({}));
    expect(parse('')).toEqual(configSchema.parse({}));
  });
});

describe('--set', () => {
  it('wins over the file, and a later one over an earlier one', () => {
    expect(parse('train:\n  maxSteps: 5\n', ['train.maxSteps=6', 'train.maxSteps=7']).train.maxSteps).toBe(7);
  });

  it('reads YAML values, and text where the key takes text', () => {
    const text = (value: string) => parse('', [`data.text=${value}`]).data.text;
    expect(text('../a b.txt')).toBe('../a b.txt');
    expect(text('*.md')).toBe('*.md');
    expect(text('{a,b}.md')).toBe('{a,b}.md');
    expect(text('"quoted.txt"')).toBe('quoted.txt');
    expect(text('[a.txt, b.txt]')).toEqual(['a.txt', 'b.txt']);
    expect(text('2024')).toBe('2024');
    const prompt = (value: string) => parse('', [`sample.prompt=${value}`]).sample.prompt;
    expect(prompt('"\\n"')).toBe('\n');
    expect(prompt('a=b: c # d')).toBe('a=b: c # d');
    expect(parse('', ['schedule.learningRate=3e-4']).schedule.learningRate).toBe(3e-4);
    expect(parse('', ['model.bias=false']).model).toMatchObject({ bias: false });
  });

  it('takes what begins with [ as a list where the key takes one, and says why it is not a list', () => {
    const trainable = (value: string) => `train.trainable=${value}`;
    expect(parse('', [trainable('["*.attn.*", transformer.ln_f.*]')]).train.trainable).toEqual([
      '*.attn.*',
      'transformer.ln_f.*',
    ]);
    expect(refused('', [trainable('[*.attn.*, x]')])).toBe(
      'overrides: train.trainable=[*.attn.*, x]: YAML aliases are not supported, received *.attn.*. Write the value out; a string that starts with * needs quotes.',
    );
    expect(refused('', ['data.text=[a.txt, b.txt'])).toMatch(
      /^overrides: data.text=\[a.txt, b.txt: not a list: .*\. A text that begins with \[ needs quotes\.$/,
    );
    expect(refused('', ['data.text=[a, 3]'])).toContain('data.text: expected builtin, or a path, folder or glob, or a');
    expect(refused('', ['data.weights=[1, x'])).toContain('not a list');
    expect(parse('', ['data.text="[ab]*.md"']).data.text).toBe('[ab]*.md');
    // Takes no list.
    expect(parse('', ['sample.prompt=[a] b']).sample.prompt).toBe('[a] b');
  });

  it('is named instead of a line when it is wrong', () => {
    expect(refused('', ['model.nLayers=4'])).toBe(
      'overrides: model.nLayers=4: unknown key model.nLayers. Did you mean model.nLayer?',
    );
    expect(refused('', ['nlayer=4'])).toContain('Did you mean model.nLayer?');
    expect(refused('', ['model=4'])).toContain('unknown key model');
    expect(refused('', ['model.nLayer'])).toContain('expected group.key=value');
    expect(refused('model:\n  nLayer: 3\n', ['model.nLayer=x'])).toBe(
      'overrides: model.nLayer=x: model.nLayer: expected a whole number from 1 to 512, received "x".',
    );
    const long = refused('', [`model.nLayer=${'['.repeat(60_000)}`]);
    expect(long).toContain('expected a whole number');
    expect(long.length).toBeLessThan(500);
    expect(refused('', ['model.nLayer='])).toContain('overrides: model.nLayer=: model.nLayer: expected a whole number');
    expect(refused('', ['sample.prompt='])).toContain('sample.prompt: expected a string of 1 to 100000 characters');
    expect(refused('', ['model.nLayer={a: 1}'])).toContain('received a group of keys');
    expect(refused('', ['__proto__.x=1'])).toContain('unknown key __proto__.x');
  });

  it.each(['--- a', '---', '... b', '- a', '*.md', 'a: b'])('takes the name %s as it is', (name) => {
    expect(parse('', [`data.text=${name}`]).data.text).toBe(name);
  });

  it('sets any whole number, and any string without YAML syntax, to exactly that', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 2 ** 32 - 1 }),
        (seed) => parse('', [`train.seed=${seed}`]).train.seed === seed,
      ),
    );
    fc.assert(
      fc.property(fc.stringMatching(/^[\w./ *?-]{1,40}$/), (glob) => {
        const { text } = parse('', [`data.text=${glob}`]).data;
        // YAML trims plain strings; nothing else may change.
        return text === glob || text === glob.trim();
      }),
    );
  });
});

/** Any valid value of every key, from the bounds in the schema. */
const anyConfig: fc.Arbitrary<Config> = fc
  .record({
    head: fc.integer({ min: 1, max: 64 }),
    headSize: fc.integer({ min: 1, max: 64 }),
    text: fc.oneof(
      fc.string({ minLength: 1, unit: 'binary' }),
      fc.array(fc.string({ minLength: 1 }), { minLength: 1, maxLength: 3 }),
    ),
    prompt: fc.string({ unit: 'binary', minLength: 1 }),
    dropout: fc.double({ min: 0, max: 0.95, noNaN: true }),
    learningRate: fc.double({ min: 1e-3, max: 100, noNaN: true }),
    micro: fc.integer({ min: 1, max: 16 }),
    accumulation: fc.integer({ min: 1, max: 16 }),
    bias: fc.boolean(),
    tokenizer: fc.constantFrom('char', 'gpt2'),
  })
  .map((any) =>
    configSchema.parse({
      model: { nHead: any.head, nEmbd: any.head * any.headSize, dropout: Math.abs(any.dropout), bias: any.bias },
      data: { text: any.text, tokenizer: any.tokenizer },
      train: { globalBatchSize: any.micro * any.accumulation, microBatchSize: any.micro },
      schedule: { learningRate: any.learningRate },
      sample: { prompt: any.prompt },
    }),
  );

describe('renderConfig', () => {
  it('gives YAML that loads back to an equal configuration', () => {
    fc.assert(
      fc.property(anyConfig, (config) => {
        expect(parse(renderConfig(config))).toEqual(config);
      }),
    );
  });

  it('documents every key in a comment', () => {
    const lines = renderConfig(configSchema.parse({})).split('\n');
    for (const { keys } of configGroups) {
      for (const key of keys) {
        const line = lines.findIndex((text) => text.startsWith(`  ${key.name}: ${JSON.stringify(key.defaultValue)}`));
        expect(lines[line - 1]).toMatch(/^ {2}# \S/);
      }
    }
  });
});

describe('the keys', () => {
  it('all have documentation and say what they expect', () => {
    for (const { keys } of configGroups) {
      for (const key of keys) {
        expect(key.doc, key.path).toMatch(/\.$/);
        expect(key.expects, key.path).not.toBe('');
      }
    }
  });

  it('suggests nothing for a word that is far from every key', () => {
    expect(nearestKey('qqqqqqqqqqqq')).toBeUndefined();
  });
});

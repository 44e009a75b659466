/** Every function, constructor and method that src/index.ts exports refuses unknown options: a mistyped one is an error, not a default. */
import { expect, it } from 'vitest';
import { configGroups } from '../../src/config/keys.ts';
import * as lockstep from '../../src/index.ts';
import { exportedParameters } from './exportedParameters.ts';

type Call = (options: never) => unknown;

const absent = undefined as never;
const { Model, Parameters, Tape, TrainedModel, Trainer } = lockstep;

/** Each parameter that is an object of options, and a call with such an object. It is looked at before anything else. */
const checked: Readonly<Record<string, Call>> = {
  'train: TrainOptions': (options) => lockstep.train(options),
  'loadConfig: LoadConfigOptions': (options) => lockstep.loadConfig(options),
  'openDataset: DataOptions': (options) => lockstep.openDataset(options, absent),
  'openDataset: DatasetOptions': (options) => lockstep.openDataset({} as never, options),
  'createTokenizer: CreateTokenizerOptions': (options) => lockstep.createTokenizer('char', 'abc', options),
  'createEngine: EngineOptions': (options) => lockstep.createEngine(options),
  'trainBatch: TrainBatchOptions': (options) => lockstep.trainBatch(absent, options),
  'valBatches: ValBatchesOptions': (options) => lockstep.valBatches(absent, options),
  'learningRateAt: Schedule': (options) => lockstep.learningRateAt(0, options),
  'saveCheckpoint: SaveCheckpointOptions': (options) => lockstep.saveCheckpoint('absent', absent, options),
  'restoreCheckpoint: RestoreCheckpointOptions': (options) => lockstep.restoreCheckpoint('absent', absent, options),
  'loadCheckpoint: LoadCheckpointOptions': (options) => lockstep.loadCheckpoint('absent', options),
  'TrainedModel.generate: GenerateTextOptions': (options) => new TrainedModel(absent).generate('', options).next(),
  'TrainedModel.classify: ClassifyOptions': (options) => new TrainedModel(absent).classify([], options),
  'TrainedModel.translate: TranslateOptions': (options) => new TrainedModel(absent).translate([], options),
  'Trainer: TrainerOptions': (options) => new Trainer(absent, absent, options),
  'Trainer.microStep: MicroStepOptions': (options) => Trainer.prototype.microStep.call(Trainer.prototype, options),
  'Trainer.enqueueMicroStep: MicroStepOptions': (options) => Trainer.prototype.enqueueMicroStep.call(absent, options),
  'Trainer.applyAdamw: AdamwStep': (options) => Trainer.prototype.applyAdamw.call(absent, options),
  'Parameters: ParametersOptions': (options) => new Parameters(absent, absent, options),
  'Model.forward: ForwardOptions': (options) => Model.prototype.forward.call(absent, absent, absent, options),
  'Model.losses: LossOptions': (options) => Model.prototype.losses.call(absent, absent, absent, absent, options),
  'Model.values: ForwardOptions': (options) => Model.prototype.values.call(absent, absent, absent, options),
  'Model.lossesAndValues: ForwardOptions': (options) =>
    Model.prototype.lossesAndValues.call(absent, absent, absent, absent, options),
  'beamSearch: BeamSearchOptions': (options) => lockstep.beamSearch(absent, absent, options),
  'Tape.layerNorm: Affine': (options) => new Tape(absent).layerNorm({} as never, options, 1),
  'Tape.attention: AttentionHeads': (options) => new Tape(absent).attention(absent, options),
  'Tape.attention: KeyRanges': (options) => new Tape(absent).attention(absent, {} as never, absent, options),
  'Tape.crossAttention: AttentionHeads': (options) =>
    new Tape(absent).crossAttention(absent, absent, options, {} as never),
  "Tape.crossAttention: Required<Pick<KeyRanges, 'ends'>> & KeyRanges": (options) =>
    new Tape(absent).crossAttention(absent, absent, {} as never, options),
  'Tape.attentionDecode: AttentionHeads': (options) => new Tape(absent).attentionDecode(absent, [], options),
  'Tape.crossAttentionDecode: AttentionHeads': (options) => new Tape(absent).crossAttentionDecode(absent, [], options),
  'Tape.embedding: EmbeddingOptions': (options) => new Tape(absent).embedding(absent, absent, undefined, options),
  'Tape.rope: Rotation': (options) => new Tape(absent).rope(absent, options),
  'Tape.linear: LinearLayer': (options) => new Tape(absent).linear(absent, options),
  'Tape.linearCrossEntropy: Head': (options) => new Tape(absent).linearCrossEntropy(absent, options, absent),
  'Tape.linearCrossEntropy: LossGradient': (options) =>
    new Tape(absent).linearCrossEntropy(absent, {} as never, absent, options),
  'Tape.crossEntropy: LossGradient': (options) => new Tape(absent).crossEntropy(absent, absent, options),
};

/** Types of parameters that hold no options: things that something exported made, data, and names. The keys of a ModelConfig are checked with its values. */
const values = new Set([
  ...[
    'ActivationKind',
    'ArrayLike<number>',
    'Batch',
    'Batch | Iterable<Batch>',
    'CachedContext',
    'CachedKeys',
    "Pick<CachedKeys, 'keys' | 'values'>",
    'CheckpointBody',
    'Dropout',
    'Engine',
    'EngineTable',
    'Float32Array',
  ],
  ...[
    'HostArray',
    'Int32Array',
    'LoadedModel',
    'Model',
    'ModelConfig',
    'ModelParameters',
    'Parameter',
    'ParameterSpec',
    'Parameters',
    'Precision',
  ],
  ...[
    'AnsweredPrompt',
    'Model',
    'ParameterBlock',
    'Seed',
    'Shape',
    'SourceTokens',
    'Sums',
    'Tape',
    'Tensor',
    'TextSource',
    'TokenSequence',
    'TokenizerKind',
  ],
  ...['Trainer', 'TrainingSplit', 'Variable'],
]);

const primitive = /^(= .*|string|number|boolean|.* => .*)$/;
/** `Seed` of `readonly Seed[]`. */
const bareType = (type: string): string => type.replace(/^readonly (.*)\[\]$/, '$1').replace(/ \| undefined$/, '');

it('finds every parameter with options, and none that is gone', () => {
  const found = exportedParameters()
    .filter(({ type }) => !primitive.test(bareType(type)) && !values.has(bareType(type)))
    .map(({ callable, type }) => `${callable}: ${type}`);
  expect(found.sort()).toEqual(Object.keys(checked).sort());
});

it.each(Object.entries(checked))('%s: an unknown option is an error', async (_, call) => {
  // An error may be thrown or be that of a promise.
  const error = await (async () => call({ confgi: 1 } as never))().catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(lockstep.UserError);
  expect((error as Error).message).toMatch(/^unknown option confgi of \w/);
});

it('names the nearest option', async () => {
  await expect(lockstep.train({ confg: {} } as object)).rejects.toThrow(
    'unknown option confg of train. Did you mean config?',
  );
});

it('refuses unknown options inside options', async () => {
  await expect(lockstep.train({ listener: { stpe() {} } as object })).rejects.toThrow(
    "unknown option stpe of train's listener. Did you mean step?",
  );
  for (const [listener, message] of [
    [null, 'listener: expected an object, received null'],
    ['step', 'listener: expected an object, received a string'],
    [{ step: 1 }, 'listener.step: expected a function, received a number'],
  ] as const) {
    await expect(lockstep.train({ listener: listener as never })).rejects.toThrow(new lockstep.UserError(message));
  }
  await expect(lockstep.loadCheckpoint('absent', { engine: { nme: 'native' } as never })).rejects.toThrow(
    "unknown option nme of loadCheckpoint's engine. Did you mean name?",
  );
});

it('accepts a listener of a class that has functions of its own', async () => {
  class Listener {
    readonly format = (loss: number) => loss.toFixed(2);
    step({ loss }: { readonly loss: number }): void {
      this.format(loss);
    }
  }
  const listener = new Listener();
  // What follows the check of the listener.
  await expect(lockstep.train({ listener, workers: 0 })).rejects.toThrow('workers: expected a whole number');
});

it('refuses unknown keys of a model', () => {
  const config = { architecture: 'bigram', blockSize: 4, vocabSize: 7, blokSize: 8 } as never;
  const refusal = 'unknown key model.blokSize. Did you mean blockSize?';
  expect(() => lockstep.parameterSpecs(config)).toThrow(new lockstep.UserError(refusal));
  expect(() => new Trainer(absent, config, { seed: 1 })).toThrow(refusal);
});

it('accepts the groups of a config as they are', async () => {
  const groupOf = (name: string) =>
    Object.fromEntries(
      configGroups.find((group) => group.name === name)!.keys.map((key) => [key.name, key.defaultValue]),
    );
  const refusals: Record<string, Call> = {
    schedule: checked['learningRateAt: Schedule']!,
    optimizer: checked['Trainer.applyAdamw: AdamwStep']!,
    engine: (options) => lockstep.createEngine(options, {}),
    data: checked['openDataset: DataOptions']!,
  };
  for (const [group, call] of Object.entries(refusals)) {
    const error = await (async () => call(groupOf(group) as never))().catch((thrown: unknown) => thrown);
    expect(String(error), group).not.toContain(`unknown option`);
  }
});

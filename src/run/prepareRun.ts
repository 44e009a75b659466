/** Everything that a run needs before it starts. It finds errors before a worker starts or anything is written. */
import { basename, extname } from 'node:path';
import { loraOf } from '../architecture/lora.ts';
import { declaredTensors } from '../architecture/trainable.ts';
import { UserError } from '../base/errors.ts';
import { optionName } from '../base/ownCommand.ts';
import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import { CheckpointStore } from '../checkpoint/store.ts';
import { isEveryInterface, isLoopback, parseTcpAddress } from '../comm/linkAddress.ts';
import type { Config } from '../config/configTypes.ts';
import { modelOf } from '../config/groups/model.ts';
import { validationSamples } from '../coordinator/validationPlan.ts';
import type { RunData } from '../data/runData.ts';
import { tokenizerKindOf } from '../data/shards/shardDataset.ts';
import { createEngine, devicesOf, engineWarning, findEngine, selectEngine } from '../engine/registry.ts';
import { checkPrecision } from '../model/training.ts';
import type { TextSize } from '../task/textMeasures.ts';
import { checkpointsFor, checkUnused } from './checkpointsOfRun.ts';
import { withFittingPrompt } from './fittingPrompt.ts';
import { checkStartOfPolicy, type InitialWeights, noteInitialWeights, openInitialWeights } from './initialWeights.ts';
import type { RunMessages } from './messages.ts';
import { openRunData } from './openRunData.ts';
import { checkResume, tokenizerOf } from './resumedCheckpoint.ts';
import { checkChanges, scheduleNote } from './resumedConfig.ts';
import { loadRunConfig, type RunConfigArguments } from './runConfig.ts';
import { newRunFolder, type RunFolder } from './runFolder.ts';
import { shortRunProblem, withRunLength } from './runLength.ts';
import { hasStoredRun, openResumed, runToResume } from './runToResume.ts';

/** The arguments of `launch train`. Numbers are in their ranges. */
export interface RunArguments extends RunConfigArguments {
  readonly minWorkers?: number | undefined;
  /** Number of workers, local and joined, that the run waits for before it starts; absent: `workers` or `minWorkers`, if that is more. */
  readonly startWorkers?: number | undefined;
  readonly runDir?: string | undefined;
  /** Empty: the newest run. `s3://…`: the run with its checkpoints there, with or without its directory. */
  readonly resume?: string | undefined;
  /** Continue the run whose checkpoints are where the config says, if that is an object store and has some. Default false. */
  readonly continuesStored?: boolean | undefined;
  readonly singleProcess: boolean;
  readonly listen?: string | undefined;
  readonly advertise?: string | undefined;
  readonly encrypt: boolean;
  readonly dryRun: boolean;
}

/** The inputs of a run, before anything is started or written. */
export interface Run {
  readonly config: Config;
  /** Where relative paths of the config start. */
  readonly cwd: string;
  readonly folder: RunFolder;
  readonly store: CheckpointStore;
  readonly resume: Checkpoint | undefined;
  /** The config that the run had before it was resumed; undefined for a new run. */
  readonly before?: Config | undefined;
  /** Whether the records of the run in the object store are newer than those of its directory. */
  readonly restoresRecords?: boolean | undefined;
  /** The initial weights of a run without a checkpoint; undefined for random weights. */
  readonly weights: InitialWeights | undefined;
  readonly data: RunData;
  /** The size of the validation text; undefined if the run is never evaluated. */
  readonly validationText: TextSize | undefined;
  /** Number of workers that the run waits for before it starts, local and joined. */
  readonly worldSize: number;
  /** Minimum number of workers to continue with. */
  readonly minWorkers: number;
}

/** Prepares config, run directory, checkpoint and data. @throws UserError if they cannot be trained with these options */
export async function prepareRun(args: RunArguments, cwd: string, messages: RunMessages): Promise<Run> {
  const resuming = args.resume !== undefined;
  const known = await runToResume(args, cwd, messages);
  const { existing } = known;
  const { config: loaded, source, chosen, suggested, before } = loadRunConfig(args, known, cwd);
  if (args.continuesStored && !resuming && (await hasStoredRun(loaded))) {
    const { directory } = loaded.checkpoint;
    messages.note(`${directory} has a run, which continues with its own config and weights`);
    return await prepareRun({ ...args, resume: directory, config: undefined, initFrom: undefined }, cwd, messages);
  }
  if (before) checkChanges(loaded, before, messages);
  const name = typeof args.config === 'object' ? 'run' : basename(source, extname(source));
  const folder = existing ?? known.folder ?? (await newRunFolder(args.runDir, name, cwd));
  const { minWorkers, worldSize } = workersOf(loaded, args);
  if (args.singleProcess && (args.listen !== undefined || worldSize > loaded.train.workers)) {
    throw new UserError(
      `a ${optionName('single-process')} run accepts no other workers: omit ${optionName('listen')} and ${optionName('min-workers')}`,
    );
  }
  if (!args.encrypt && args.listen !== undefined && !(await isLoopback(args.listen))) {
    throw new UserError(
      `${optionName('no-encrypt')} is allowed on this machine only, but other machines can reach ${args.listen}: omit it, or listen on tcp://127.0.0.1:PORT`,
    );
  }
  if (args.advertise !== undefined) checkAdvertise(args.advertise, { listen: args.listen, resuming });
  // A dry run computes nothing.
  if (!(args.dryRun && 'missing' in (await findEngine(loaded.engine)))) await checkEngine(loaded, messages);
  const store = new CheckpointStore(checkpointsFor(loaded, folder), {
    keep: loaded.checkpoint.keep,
    onWarning: messages.warn,
  });
  if (!resuming && loaded.checkpoint.directory !== '') await checkUnused(store);
  const { resume, restoresRecords } = await openResumed(known, store, messages);
  const needsWeights = resume === undefined && loaded.model.from !== '';
  const { config: given, weights } = needsWeights
    ? await openInitialWeights(loaded, { chosen, suggested, cwd, messages })
    : { config: await withTokenizerOfShards(loaded, { chosen, cwd }), weights: undefined };
  const tokenizer = resume === undefined ? weights?.tokenizer : await tokenizerOf(resume, given);
  const data = await openRunData(given, { cwd, tokenizer, messages });
  const { step = 0, data: { samplesSeen = 0 } = {} } = resume?.trainer ?? {};
  const labelled = withHeads(given, data);
  if (weights !== undefined) noteInitialWeights(weights, labelled.model, { cwd, note: messages.note });
  const counted = withRunLength(labelled, data, { step, samples: samplesSeen });
  const short = resuming ? undefined : shortRunProblem(counted);
  // Who sets train.maxSteps may want a short run, but the length of epochs follows from the rows.
  if (short !== undefined) messages[counted.train.epochs > 0 ? 'warn' : 'note'](short);
  const longer = before && counted.train.epochs > 0 ? scheduleNote(counted, before) : undefined;
  if (longer !== undefined) messages.note(longer);
  const config = withFittingPrompt(counted, data, { isChosen: chosen.includes('sample.prompt'), note: messages.note });
  if (resume !== undefined) {
    checkResume(resume, config, data, messages);
    await checkStartOfPolicy(config, data.vocabSize, cwd);
  } else if (weights === undefined && loraOf(config.model) !== undefined) {
    messages.warn(
      `model.loraRank adds adapters to random weights, which stay random: name the weights to adapt with ${optionName('init-from')} (model.from)`,
    );
  }
  if (!args.dryRun) await checkRoom(store, config, data, { resuming, warn: messages.warn });
  const validationText = args.dryRun ? undefined : await validationTextOf(config, data, messages);
  return {
    ...{ config, cwd, folder, store, resume, before, restoresRecords },
    ...{ weights, data, validationText, worldSize, minWorkers },
  };
}

/** @throws UserError if other machines cannot connect there, or the run does not listen for them */
function checkAdvertise(
  advertise: string,
  { listen, resuming }: { listen: string | undefined; resuming: boolean },
): void {
  if (isEveryInterface(parseTcpAddress(advertise).host)) {
    throw new UserError(
      `${optionName('advertise')} ${advertise}: expected an address or a name that other machines can connect to`,
    );
  }
  if (listen === undefined && !resuming) {
    throw new UserError(
      `${optionName('advertise')} sets the address at which other machines reach ${optionName('listen')}: add ${optionName('listen')}, for example tcp://0.0.0.0:5555`,
    );
  }
}

/** Takes the tokenizer from the shards, unless the user chose one, which is later compared with theirs. */
async function withTokenizerOfShards(
  config: Config,
  { chosen, cwd }: { chosen: readonly string[]; cwd: string },
): Promise<Config> {
  const [first] = [config.data.shards].flat();
  if (first === undefined || chosen.includes('data.tokenizer')) return config;
  return { ...config, data: { ...config.data, tokenizer: await tokenizerKindOf(first, cwd) } };
}

/** The model of a classification has the labels of its data, and that of PPO a value head. */
function withHeads(config: Config, { labels = [] }: RunData): Config {
  const { model, task } = config;
  const heads = {
    ...(labels.length > 0 && { labels: [...labels] }),
    ...('valueHead' in model && { valueHead: task.kind === 'ppo' }),
  };
  return { ...config, model: { ...model, ...heads } as Config['model'] };
}

/** A long validation split takes a while: it is read at about 10 MB/s. */
async function validationTextOf(config: Config, data: RunData, messages: RunMessages): Promise<TextSize | undefined> {
  if (config.eval.everySteps === 0) return undefined;
  return validationSamples(data, config).targetText?.(messages.progress('measuring the validation text'));
}

/** @throws UserError if a step has fewer sequences than workers */
export function workersOf(
  { train }: Config,
  { minWorkers = 1, startWorkers = 1 }: Pick<RunArguments, 'minWorkers' | 'startWorkers'>,
): Pick<Run, 'minWorkers' | 'worldSize'> {
  const wanted = Math.max(minWorkers, startWorkers);
  if (train.globalBatchSize < wanted) {
    throw new UserError(
      `train.globalBatchSize is ${train.globalBatchSize}, fewer sequences than the ${wanted} workers: raise it, or use fewer workers`,
    );
  }
  return { minWorkers, worldSize: Math.max(train.workers, wanted) };
}

/** Starts the engine once, so that a missing engine is reported here and not by each worker. */
async function checkEngine({ engine: keys, train: { workers } }: Config, { warn }: RunMessages): Promise<void> {
  const choice = await selectEngine(keys);
  const warning = await engineWarning(choice);
  if (warning !== undefined) warn(warning);
  const devices = await devicesOf(choice);
  if (keys.device === 'auto' && devices !== undefined && workers > devices.length) {
    const shared = devices.length === 1 ? `share one device, ${devices[0]}` : `share ${devices.length} devices`;
    warn(`${workers} workers ${shared}: that needs more memory, and is not faster than one worker per device`);
  }
  // The device of the last local worker: if it starts, so do those of the others.
  const engine = await createEngine({ ...keys, threads: 1, localIndex: Math.max(0, workers - 1) });
  try {
    checkPrecision(engine, keys.precision);
  } finally {
    await engine.dispose();
  }
}

/**
 * Checks the disk space for a checkpoint before training. A resumed run only gets a warning: workers of a killed coordinator may be
 * waiting, for a limited time, with state that exists nowhere else.
 */
async function checkRoom(
  store: CheckpointStore,
  { model, train, optimizer }: Config,
  { vocabSize }: RunData,
  { resuming, warn }: { resuming: boolean; warn: RunMessages['warn'] },
): Promise<void> {
  const problem = await store.roomProblem(declaredTensors(modelOf(model, vocabSize), train.trainable, optimizer));
  if (problem === undefined) return;
  const message = `a checkpoint of this model ${problem}: make room`;
  if (!resuming) throw new UserError(`${message}, or choose a folder on another disk (${optionName('run-dir')})`);
  warn(`${message} before the next one is due`);
}

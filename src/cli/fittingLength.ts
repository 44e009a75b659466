/** How long `launch finetune` trains on the rows it has: the epochs and the batch of a few rows, and the warm-up of a short run. */
import { countOf, grouped } from '../base/numberText.ts';
import { settingText } from '../base/ownCommand.ts';
import type { Config } from '../config/configTypes.ts';
import { heldOut } from '../data/examples/exampleOrder.ts';
import { fittingWarmup } from '../run/runLength.ts';
import { isPolicyKind } from '../task/kinds.ts';

/** With the rates of fine-tuning, a run of fewer steps hardly changes a model. */
const stepsWanted = 100;
/** A run of fewer steps than this has learned next to nothing. */
const stepsFew = 20;
/** More repetitions of a row teach the row itself and nothing else. The service of OpenAI had the same limit. */
const epochsMax = 25;
/** A mean over fewer rows is too noisy for the rates of the configs. */
const batchMin = 2;

/** The length of a run, and the settings that give it, such as `train.epochs=23`. */
export interface FittingLength {
  /** None if the config suits the rows. */
  readonly settings: readonly string[];
  /** What to say about the length; undefined if nothing needs to be said. */
  readonly notice: string | undefined;
}

/**
 * The length that suits the rows: at least 100 steps if 25 epochs have them, and no more than 25 epochs if the config counts steps. For few rows the batch is smaller
 * before the epochs are more: that costs no time. Rows that the task leaves out are counted too. The steps of GRPO and PPO do not follow from their rows, and those of
 * packed rows are fewer than can be counted here: of these only the warm-up is shorter.
 * @param isChosen whether the user has set a key; such a key stays
 */
export function fittingLength(config: Config, rows: number, isChosen: (key: string) => boolean): FittingLength {
  const { train, task, schedule } = config;
  const trained = trainedRows(config, rows);
  if (trained === 0 || isPolicyKind(task.kind)) return { settings: [], notice: undefined };
  const changed = (key: string, before: number, now: number) => (before === now ? [] : [`${key}=${now}`]);
  const warmup = (steps: number) =>
    isChosen('schedule.warmupSteps')
      ? []
      : changed('schedule.warmupSteps', schedule.warmupSteps, Math.min(schedule.warmupSteps, fittingWarmup(steps)));
  if (task.pack) return { settings: warmup(stepsOf(train, trained)), notice: undefined };
  const batch = isChosen('train.globalBatchSize') ? train.globalBatchSize : fittingBatch(config, trained, isChosen);
  const microBatch = batch % train.microBatchSize === 0 ? train.microBatchSize : batch;
  const stepsMost = Math.ceil((epochsMax * trained) / batch);
  const length = {
    ...train,
    globalBatchSize: batch,
    epochs:
      train.epochs > 0 && !isChosen('train.epochs') ? Math.max(train.epochs, epochsFor(batch, trained)) : train.epochs,
    maxSteps: isChosen('train.maxSteps') ? train.maxSteps : Math.min(train.maxSteps, stepsMost),
  };
  const { epochs, maxSteps } = length;
  const steps = stepsOf(length, trained);
  const log = steps < 2 * train.logEverySteps && !isChosen('train.logEverySteps') ? 10 : train.logEverySteps;
  const lengthSettings = [
    ...(epochs > 0
      ? changed('train.epochs', train.epochs, epochs)
      : changed('train.maxSteps', train.maxSteps, maxSteps)),
    ...changed('train.globalBatchSize', train.globalBatchSize, batch),
  ];
  const isShort = lengthSettings.length > 0;
  const settings = [
    // Too few rows to hold one out.
    ...(trained === rows && isHeldOut(config.data)
      ? ['data.valFraction=0', 'eval.everySteps=0'].filter((setting) => !isChosen(setting.split('=')[0]!))
      : []),
    ...lengthSettings,
    ...changed('train.microBatchSize', train.microBatchSize, microBatch),
    ...(isShort ? changed('train.logEverySteps', train.logEverySteps, log) : []),
    ...warmup(steps),
  ];
  const times = countOf(epochs > 0 ? epochs : Math.round((steps * batch) / trained), 'time');
  const few = `few rows: ${grouped(trained)} to train on, each used ${times}, in ${countOf(steps, 'step')} of ${batch}`;
  if (steps >= stepsFew) return { settings, notice: isShort ? few : undefined };
  const hardly = `${countOf(steps, 'step')} at a learning rate of ${schedule.learningRate} hardly ${steps === 1 ? 'changes' : 'change'} a model`;
  return { settings, notice: `${hardly}: use ${longer(length, trained)}` };
}

/** What gives a run that has too few steps enough of them. */
function longer(train: Config['train'], trained: number): string {
  const least = Math.max(batchMin, train.workers);
  const reaches = (batch: number) => Math.ceil((epochsMax * trained) / batch) >= stepsFew;
  if (reaches(train.globalBatchSize)) return settingText(...longerBy(train, trained));
  if (least >= train.globalBatchSize || !reaches(least)) return 'more rows';
  const smaller = { ...train, globalBatchSize: least };
  const also = stepsOf(smaller, trained) < stepsFew ? [longerBy(smaller, trained).join('=')] : [];
  return settingText('train.globalBatchSize', [least, 'train.microBatchSize=1', ...also].join(' '));
}

function longerBy({ epochs, globalBatchSize }: Config['train'], trained: number): [key: string, value: string] {
  if (epochs > 0) return ['train.epochs', String(epochsFor(globalBatchSize, trained))];
  return ['train.maxSteps', String(Math.min(stepsWanted, Math.ceil((epochsMax * trained) / globalBatchSize)))];
}

/** The epochs that have enough steps, within the limit. */
function epochsFor(batch: number, trained: number): number {
  return Math.min(epochsMax, Math.ceil((stepsWanted * batch) / trained));
}

/** Half as large, and so on, while the run is too short, or would repeat its rows too often. */
function fittingBatch({ train }: Config, trained: number, isChosen: (key: string) => boolean): number {
  const least = Math.max(batchMin, train.workers);
  const fits = (half: number) =>
    Number.isInteger(half) && half >= least && (!isChosen('train.microBatchSize') || half % train.microBatchSize === 0);
  let batch = train.globalBatchSize;
  const isTooLarge = () =>
    train.epochs > 0
      ? stepsOf({ ...train, globalBatchSize: batch }, trained) < stepsWanted
      : train.maxSteps * batch > epochsMax * trained;
  while (isTooLarge() && fits(batch / 2)) batch /= 2;
  return batch;
}

function stepsOf({ epochs, maxSteps, globalBatchSize }: Config['train'], trained: number): number {
  return epochs > 0 ? Math.ceil((epochs * trained) / globalBatchSize) : maxSteps;
}

/** The rows that are not held out for validation. */
function trainedRows({ data, train }: Config, rows: number): number {
  return rows - (isHeldOut(data) ? heldOut(rows, data.valFraction, train.seed).length : 0);
}

/** Whether some of the rows are held out to validate on. */
function isHeldOut({ validation, valFraction }: Config['data']): boolean {
  return [validation].flat().length === 0 && valFraction > 0;
}

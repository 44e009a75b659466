/** How long `launch finetune` trains on the rows it has: the epochs and the batch of a few rows, and the warm-up of a short run. */
import { countOf, grouped } from '../base/numberText.ts';
import { settingText } from '../base/ownCommand.ts';
import type { Config } from '../config/configTypes.ts';
import { heldOut } from '../data/examples/exampleOrder.ts';
import { fittingWarmup } from '../run/runLength.ts';

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
 * before the epochs are more: that costs no time. Rows that the task leaves out are counted too.
 * @param isChosen whether the user has set a key; such a key stays
 */
export function fittingLength(config: Config, rows: number, isChosen: (key: string) => boolean): FittingLength {
  const { train, schedule } = config;
  const trained = trainedRows(config, rows);
  if (trained === 0) return { settings: [], notice: undefined };
  const batch = isChosen('train.globalBatchSize') ? train.globalBatchSize : fittingBatch(config, trained, isChosen);
  const microBatch = batch % train.microBatchSize === 0 ? train.microBatchSize : batch;
  const isFree = train.epochs > 0 && !isChosen('train.epochs');
  const enough = Math.ceil((stepsWanted * batch) / trained);
  const epochs = isFree ? Math.max(train.epochs, Math.min(epochsMax, enough)) : train.epochs;
  const steps = stepsOf(train, trained, batch, epochs);
  const log = steps < 2 * train.logEverySteps && !isChosen('train.logEverySteps') ? 10 : train.logEverySteps;
  const isShort = batch !== train.globalBatchSize || epochs !== train.epochs;
  const warmup = Math.min(schedule.warmupSteps, fittingWarmup(steps));
  const changed = (key: string, before: number, now: number) => (before === now ? [] : [`${key}=${now}`]);
  const settings = [
    ...changed('train.epochs', train.epochs, epochs),
    ...changed('train.globalBatchSize', train.globalBatchSize, batch),
    ...changed('train.microBatchSize', train.microBatchSize, microBatch),
    ...(isShort ? changed('train.logEverySteps', train.logEverySteps, log) : []),
    ...(isChosen('schedule.warmupSteps') ? [] : changed('schedule.warmupSteps', schedule.warmupSteps, warmup)),
  ];
  const times = Math.round((steps * batch) / trained);
  const few = `few rows: ${grouped(trained)} to train on, each used ${times} times, in ${steps} steps of ${batch}`;
  const notice = steps < stepsFew ? hardly(steps, config, epochs, enough) : isShort ? few : undefined;
  return { settings, notice };
}

/** What to say about a run that has too few steps although more was possible. */
function hardly(steps: number, { schedule }: Config, epochs: number, enough: number): string {
  const more = Math.min(epochsMax, enough);
  const advice =
    epochs === 0
      ? settingText('train.maxSteps', String(stepsWanted))
      : epochs < more
        ? settingText('train.epochs', String(more))
        : 'more rows';
  return `${countOf(steps, 'step')} at a learning rate of ${schedule.learningRate} hardly change a model: use ${advice}`;
}

/** Half as large, and so on, while the run is too short, or would repeat its rows too often. */
function fittingBatch({ train }: Config, trained: number, isChosen: (key: string) => boolean): number {
  const least = Math.max(batchMin, train.workers);
  const fits = (half: number) =>
    Number.isInteger(half) && half >= least && (!isChosen('train.microBatchSize') || half % train.microBatchSize === 0);
  let batch = train.globalBatchSize;
  const isTooLarge = () =>
    train.epochs > 0
      ? stepsOf(train, trained, batch, train.epochs) < stepsWanted
      : train.maxSteps * batch > epochsMax * trained;
  while (isTooLarge() && fits(batch / 2)) batch /= 2;
  return batch;
}

function stepsOf({ maxSteps }: Config['train'], trained: number, batch: number, epochs: number): number {
  return epochs > 0 ? Math.ceil((epochs * trained) / batch) : maxSteps;
}

/** The rows that are not held out for validation. */
function trainedRows({ data, train }: Config, rows: number): number {
  const isHeldOut = [data.validation].flat().length === 0;
  return rows - (isHeldOut ? heldOut(rows, data.valFraction, train.seed).length : 0);
}

/** The number of steps of a run that counts epochs (`train.epochs`). */
import { messageOf, UserError } from '../base/errors.ts';
import { countOf } from '../base/numberText.ts';
import { settingText } from '../base/ownCommand.ts';
import type { Config } from '../config/configTypes.ts';
import { renderConfig } from '../config/render.ts';
import type { RunListener } from '../coordinator/coordinatorOptions.ts';
import { learningRateAt } from '../coordinator/core/schedule.ts';
import type { RunData } from '../data/runData.ts';
import type { RunFolder } from './runFolder.ts';

const stepsMax = 2 ** 31 - 1;

/** How far a run has come. */
export interface RunProgress {
  readonly step: number;
  /** Number of samples in these steps. */
  readonly samples: number;
}

/**
 * The config with the number of steps that completes the epochs; unchanged if the config counts steps. Progress counts, because earlier steps may have had another
 * batch size, and because a run that has ended may be given more epochs.
 * @throws UserError if there are too many steps
 */
export function withRunLength(config: Config, data: RunData, { step, samples }: RunProgress): Config {
  const { train } = config;
  if (train.epochs === 0) return config;
  const left = Math.max(0, train.epochs * data.epochSamples - samples);
  const maxSteps = step + Math.ceil(left / train.globalBatchSize);
  if (maxSteps <= stepsMax) return { ...config, train: { ...train, maxSteps } };
  throw new UserError(`train.epochs: ${train.epochs} are ${maxSteps} steps, but a run has at most ${stepsMax}`);
}

/** The number of warm-up steps that suits a short run: a tenth of its steps. */
export function fittingWarmup(maxSteps: number): number {
  return Math.floor(maxSteps / 10);
}

/** What to say about a run that ends before its warm-up; undefined for another run. */
export function shortRunProblem({ train: { maxSteps }, schedule }: Config): string | undefined {
  const { kind, warmupSteps, learningRate } = schedule;
  if (maxSteps === 0 || kind === 'sweep' || maxSteps >= warmupSteps) return undefined;
  const share = (100 * learningRateAt(maxSteps - 1, schedule)) / learningRate;
  return (
    `the warm-up (${countOf(warmupSteps, 'step')}) is longer than the run (${countOf(maxSteps, 'step')}), so the learning rate only reaches ` +
    `${Number(share.toPrecision(2))} % of its peak. To shorten it: ${settingText('schedule.warmupSteps', String(fittingWarmup(maxSteps)))}`
  );
}

/** Keeps the number of steps in config.yaml, where the dashboard and the list of runs look for it. */
export class LengthKeeper implements Partial<RunListener> {
  readonly #run: { readonly folder: Pick<RunFolder, 'writeConfig' | 'isLost'>; readonly config: Config };
  readonly #warn: (message: string) => void;
  #written = Promise.resolve();

  constructor(
    run: { folder: Pick<RunFolder, 'writeConfig' | 'isLost'>; config: Config },
    warn: (message: string) => void,
  ) {
    this.#run = run;
    this.#warn = warn;
  }

  lengthChanged(maxSteps: number): void {
    const { folder, config } = this.#run;
    const text = renderConfig({ ...config, train: { ...config.train, maxSteps } });
    this.#written = this.#written
      .then(() => (folder.isLost ? undefined : folder.writeConfig(text)))
      .catch((error: unknown) => this.#warn(messageOf(error)));
  }

  /** Resolves when everything is written. */
  close(): Promise<void> {
    return this.#written;
  }
}

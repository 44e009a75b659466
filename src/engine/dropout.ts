/** Dropout, and which random stream each sample of it draws from, for engines that derive keys on the host. */
import { extendKey, type RandomKey, randomKey } from '../base/counterRandom.ts';

/**
 * Dropout keeps an element with probability 1 - rate and scales it by 1/(1 - rate). The mask is recomputed, never stored. The
 * samples are the leading dimension of the tensor it is applied to: element i of sample b, counted from the sample's first element,
 * is kept iff randomUniform(key, i) >= rate where key = randomKey(seed, step, firstSample + b, site) (base/counterRandom.ts). So
 * the mask never depends on the worker or the microbatch that computes it.
 */
export interface Dropout {
  /** Probability of dropping an element. */
  readonly rate: number;
  /** The run's seed. */
  readonly seed: number;
  /** Which update of the training the pass is part of; 1 is a run's first. */
  readonly step: number;
  /** The index of sample 0 in the step's global batch; those after it follow one another. */
  readonly firstSample: number;
  /** Which place in the model; no two share one. */
  readonly site: number;
}

/** Calls `use` with the key of each of the first `samples` samples, in order. */
export function forEachSampleKey(
  { seed, step, firstSample, site }: Dropout,
  samples: number,
  use: (key: RandomKey, sample: number) => void,
): void {
  const ofStep = randomKey(seed, step);
  for (let sample = 0; sample < samples; sample++) use(extendKey(ofStep, firstSample + sample, site), sample);
}

/** Which random stream each sample of a dropout draws from (engine.ts, `Dropout`), for backends that derive keys on the host. */
import { extendKey, type RandomKey, randomKey } from '../base/counterRandom.ts';
import type { Dropout } from './kernels.ts';

/** Calls `use` with the key of each of the first `samples` samples, in order. */
export function forEachSampleKey(
  { seed, step, firstSample, site }: Dropout,
  samples: number,
  use: (key: RandomKey, sample: number) => void,
): void {
  const ofStep = randomKey(seed, step);
  for (let sample = 0; sample < samples; sample++) use(extendKey(ofStep, firstSample + sample, site), sample);
}

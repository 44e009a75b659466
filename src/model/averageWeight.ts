/** The exponential moving average of the weights: `optimizer.ema`. */
import { power } from '../base/power.ts';

/**
 * The weight of the parameters after update `step` (counted from 1) in their average, which is
 * average = (1 - weight) · average + weight · parameters. It is (1 - decay) / (1 - decay^step), Adam's correction of the bias: the average
 * after t updates is Σ decay^(t-i) · parameters_i / Σ decay^(t-i), so the initial parameters have no part in it.
 */
export function averageWeight(decay: number, step: number): number {
  return (1 - decay) / (1 - power(decay, step));
}

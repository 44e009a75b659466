/**
 * The curves of a run in bounded memory: each point stands for the same number of steps, and when there are too many points,
 * neighbours become one. One pass, whatever the number of steps; 100,000 steps are some 2,000 to 4,000 points of 32 or 64 steps.
 */
import { meanSpeed } from '../records/recentSpeed.ts';

/** What is drawn of each step. */
export const curves = [
  'loss',
  'lr',
  'gradNorm',
  'tokensPerSecond',
  'mfu',
  'ringBytesPerSecond',
  'reward',
  'rolloutKl',
] as const;
export type Curve = (typeof curves)[number];
export type StepValues = { readonly step: number } & { readonly [K in Curve]: number };

/** Steps [.., step]: means of all curves, of speeds the work over the time, and the extremes of the loss, so that a spike stays visible. */
export interface Point extends StepValues {
  readonly lossMin: number;
  readonly lossMax: number;
}

/** A point with the number of steps that it stands for. */
type Weighted = Point & { readonly count: number };

const pointsMaxDefault = 4_096;

export class Series {
  readonly #pointsMax: number;
  #points: Weighted[] = [];
  /** Steps of a point; the last one may have fewer. */
  #stride = 1;

  /** @param pointsMax even */
  constructor(pointsMax = pointsMaxDefault) {
    this.#pointsMax = pointsMax;
  }

  /** Adds a step after the earlier ones. If the run went back to a known step, that step replaces everything from it on. */
  add(values: StepValues): void {
    if (values.step <= (this.#points.at(-1)?.step ?? 0)) this.#forgetFrom(values.step);
    const last = this.#points.at(-1);
    const { loss } = values;
    const own = { ...values, lossMin: loss, lossMax: loss, count: 1 };
    if (last !== undefined && last.count < this.#stride) this.#points[this.#points.length - 1] = joined(last, own);
    else this.#points.push(own);
    if (this.#points.length > this.#pointsMax) this.#halve();
  }

  /** The points after a step, which a viewer that knows the earlier ones lacks. The last one may still change. */
  after(step: number): readonly Point[] {
    // Few are new: from the end.
    let from = this.#points.length;
    while (from > 0 && this.#points[from - 1]!.step > step) from--;
    return this.#points.slice(from).map(({ count: _, ...point }) => point);
  }

  /** Grows whenever older points have changed, so that a viewer needs all of them again. */
  get stride(): number {
    return this.#stride;
  }

  #halve(): void {
    const halved: Weighted[] = [];
    for (let i = 0; i < this.#points.length; i += 2) {
      const [first, second] = [this.#points[i]!, this.#points[i + 1]];
      halved.push(second === undefined ? first : joined(first, second));
    }
    this.#points = halved;
    this.#stride *= 2;
  }

  #forgetFrom(step: number): void {
    let kept = this.#points.length;
    while (kept > 0 && this.#points[kept - 1]!.step >= step) kept--;
    this.#points.length = kept;
  }
}

function joined(first: Weighted, second: Weighted): Weighted {
  const count = first.count + second.count;
  const mean = (curve: Curve) => (first[curve] * first.count + second[curve] * second.count) / count;
  const speed = (curve: 'tokensPerSecond' | 'mfu') =>
    meanSpeed([first, second].map((each) => [each[curve], each.count]));
  return {
    step: second.step,
    loss: mean('loss'),
    lr: mean('lr'),
    gradNorm: mean('gradNorm'),
    tokensPerSecond: speed('tokensPerSecond'),
    mfu: speed('mfu'),
    ringBytesPerSecond: mean('ringBytesPerSecond'),
    reward: mean('reward'),
    rolloutKl: mean('rolloutKl'),
    lossMin: Math.min(first.lossMin, second.lossMin),
    lossMax: Math.max(first.lossMax, second.lossMax),
    count,
  };
}

/**
 * All adapted weights of a model: the memory of the matrices that follow from the values, and when they are formed again. One of them is
 * adaptedWeight.ts.
 */
import type { ParameterSpec } from '../architecture/parameters.ts';
import type { Engine } from '../engine/engine.ts';
import type { Tensor, TensorGroup } from '../engine/tensor.ts';
import { AdaptedWeight, scaledIdentity } from './adaptedWeight.ts';
import type { Parameter, StoredParameter } from './parameter.ts';

export class AdaptedWeights {
  readonly #weights: AdaptedWeight<Parameter>[] = [];
  /** For each of them the effective matrix, scale · Bᵀ and scale · I; undefined if there are none. */
  readonly #matrices: TensorGroup | undefined;
  #isStale = true;

  /**
   * Gives the parameters whose spec has an adapter their `adapted`.
   * @param list the parameters, in the order of `specs`
   * @param get the one with a name
   */
  constructor(
    engine: Engine,
    specs: readonly ParameterSpec[],
    list: readonly StoredParameter[],
    get: (name: string) => Parameter,
  ) {
    const adapted = specs.flatMap(({ adapter }, index) => (adapter === undefined ? [] : [{ adapter, index }]));
    if (adapted.length === 0) return;
    const shapes = adapted.map(({ adapter: { a, b }, index }) => {
      const [rank, outputs] = [a.shape[0]!, b.shape[0]!];
      return [specs[index]!.shape, [rank, outputs], [rank, rank]];
    });
    this.#matrices = engine.allocGroup(shapes.flat());
    const { tensors } = this.#matrices;
    for (const [i, { adapter, index }] of adapted.entries()) {
      const [effective, scaledB, identity] = tensors.slice(3 * i) as [Tensor, Tensor, Tensor];
      engine.upload(identity, scaledIdentity(identity.shape[0]!, adapter.scale));
      const weight = list[index]!;
      weight.adapted = new AdaptedWeight(engine, get(adapter.a.name), get(adapter.b.name), {
        get weight() {
          return weight.value;
        },
        weightTransposed: adapter.weightTransposed ?? false,
        effective,
        scaledB,
        scaledIdentity: identity,
      });
      this.#weights.push(weight.adapted);
    }
  }

  /** Memory of the matrices, in bytes. */
  get bytes(): number {
    return 4 * (this.#matrices?.length ?? 0);
  }

  /** Values have changed. */
  invalidate(): void {
    this.#isStale = true;
  }

  /** Forms the matrices again, if values have changed. */
  refresh(): void {
    if (!this.#isStale) return;
    for (const weight of this.#weights) weight.rebuild();
    this.#isStale = false;
  }
}

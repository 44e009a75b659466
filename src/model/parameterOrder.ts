/** The order of a model's parameters in memory: that in which backward finishes their gradients, determined by a planned step. */
import type { ParameterSpec } from '../architecture/parameters.ts';
import { type ModelConfig, networkOf } from '../architecture/registry.ts';
import { invariant } from '../base/errors.ts';
import { planEngine } from '../engine/registry.ts';
import { Model } from './model.ts';
import { Parameters } from './parameterStore.ts';
import { Tape } from './tape.ts';

/**
 * Every parameter of a model, in the order in which the backward pass finishes their gradients; for GPT-2 the head, the last layer, …,
 * the first layer, the embeddings. So the gradients of a bucket, a range of this list, become final together. InvariantError for a
 * trained parameter that the forward pass does not use.
 */
export function parameterSpecs(config: ModelConfig): ParameterSpec[] {
  const { specs, valueHead, encode } = networkOf(config);
  const engine = planEngine();
  const parameters = new Parameters(engine, specs, { training: true, isTrained: () => true }); // the order covers all parameters
  const model = new Model(engine, config, parameters);
  const tape = new Tape(engine);
  const dropout = { seed: 0, step: 0, firstSample: 0 };
  const [tokens, targets] = [tape.upload(new Int32Array(1), [1, 1]), tape.upload(new Int32Array(1), [1])];
  const source = encode && { tokens: tape.upload(new Int32Array(1), [1, 1]), lengths: [1] };
  const ordered = new Set<ParameterSpec>();
  const isFinal = (index: number) => ordered.add(specs[index]!);
  if (valueHead === undefined) {
    model.losses(tape, tokens, targets, { lossScale: 1, dropout, source });
    tape.backward([], isFinal);
  } else {
    const seeds = Object.values(model.lossesAndValues(tape, tokens, targets, { training: true, dropout }));
    tape.backward(
      seeds.map((of) => ({ of, grad: engine.alloc(of.shape) })),
      isFinal,
    );
  }
  for (const spec of specs) {
    invariant(
      ordered.has(spec) || spec.trainable === false, // its gradient would never become final
      `architecture ${config.architecture} declares parameter ${spec.name} and never uses it`,
    );
    ordered.add(spec); // parameters without a gradient come last
  }
  return [...ordered];
}

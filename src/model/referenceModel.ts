/**
 * The reference of policy gradients: the model as it is before the first step of a run. If only adapters are trained (LoRA), it is the
 * model without them, and needs no memory. Otherwise its parameters are a copy.
 */
import { loraOf, withoutLora } from '../architecture/lora.ts';
import type { IsTrained } from '../architecture/parameters.ts';
import { type ModelConfig, networkOf } from '../architecture/registry.ts';
import { withoutValueHead } from '../architecture/valueHead.ts';
import type { Engine } from '../engine/engine.ts';
import { Model } from './model.ts';
import type { ModelParameters } from './parameter.ts';
import { Parameters } from './parameterStore.ts';
import type { Trainer } from './training.ts';

/** The model at the start of a run, which does not change. */
export interface ReferenceModel {
  readonly model: Model;
  /**
   * Its own parameters; undefined if it computes with those of the trained model. They have the values that the trainer had, and a
   * resumed run writes those of its start.
   */
  readonly parameters: Parameters | undefined;
}

/** Takes the values of the trainer as the reference. It lives as long as the engine. */
export async function referenceOf({ engine, model, parameters }: Trainer): Promise<ReferenceModel> {
  const isTrained: IsTrained = ({ name }) => parameters.get(name).grad !== undefined;
  const config = referenceConfig(model.config, isTrained);
  if (sharesWeights(model.config, isTrained)) {
    const without: ModelParameters = {
      get: (name) => ({ ...parameters.get(name), grad: undefined, adapted: undefined }),
      constant: (name, shape, numbers) => parameters.constant(name, shape, numbers),
      refresh: () => undefined,
    };
    return { model: new Model(engine, config, without), parameters: undefined };
  }
  const own = referenceParameters(engine, config);
  for (const [index, { name, size }] of own.specs.entries()) {
    const values = new Float32Array(size);
    await parameters.readTensor('params', parameters.indexOf(name), values);
    own.writeTensor('params', index, values);
  }
  return { model: new Model(engine, config, own), parameters: own };
}

/** The memory of a reference, for a plan: only its parameters, on this engine. */
export function planReference(engine: Engine, config: ModelConfig, isTrained: IsTrained): void {
  if (!sharesWeights(config, isTrained)) referenceParameters(engine, referenceConfig(config, isTrained));
}

/** Whether the model without its adapters remains what it was, so that it is its own reference. */
export function sharesWeights(config: ModelConfig, isTrained: IsTrained): boolean {
  if (loraOf(config) === undefined) return false;
  const base = new Set(networkOf(withoutLora(withoutValueHead(config))).specs.map(({ name }) => name));
  return networkOf(config).specs.every((spec) => !base.has(spec.name) || !isTrained(spec));
}

function referenceConfig(config: ModelConfig, isTrained: IsTrained): ModelConfig {
  const language = withoutValueHead(config);
  return sharesWeights(config, isTrained) ? withoutLora(language) : language;
}

function referenceParameters(engine: Engine, config: ModelConfig): Parameters {
  return new Parameters(engine, networkOf(config).specs, { training: false });
}

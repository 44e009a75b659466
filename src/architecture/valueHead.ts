/**
 * A value head: a second head with one output, which predicts the reward that follows a prefix. PPO trains it beside the language model.
 * Only a run of that kind has it.
 */
import { flag } from '../base/keyTypes.ts';
import type { Linear } from './ops.ts';
import type { Declarations } from './parameters.ts';

export const valueHeadKey = flag({
  default: false,
  doc: 'Add a value head, which predicts the reward of a text from its start. Only runs with task.kind ppo have one, and they add it by themselves.',
});

/** Declares the head [1, C]. It starts with the value 0 for everything. */
export function declareValueHead(declare: Declarations, C: number): Linear {
  const inside = declare.in('value', { fromEnd: 0, isHead: true });
  return { weight: inside.parameter('weight', [1, C], { constant: 0 }), weightTransposed: true };
}

/** Whether a model has one. */
export function hasValueHead(config: { readonly architecture: string; readonly valueHead?: boolean }): boolean {
  return config.valueHead ?? false;
}

/** The language model without its value head, which nothing but PPO needs. */
export function withoutValueHead<Config extends { readonly architecture: string; readonly valueHead?: boolean }>(
  config: Config,
): Config {
  return hasValueHead(config) ? { ...config, valueHead: false } : config;
}

/** Every objective, by its name: one line each. */
import { PeerError } from '../../base/errors.ts';
import { classes } from './classes.ts';
import { dpo } from './dpo.ts';
import { nextToken, packedTokens } from './nextToken.ts';
import type { Objective } from './objective.ts';
import { grpo, type PolicyKeys, ppo } from './policy.ts';
import { reward } from './reward.ts';
import { seq2seq } from './seq2seq.ts';

/** Config keys that an objective may depend on, those of `task`. */
export interface ObjectiveKeys extends PolicyKeys {
  /** DPO and GRPO: how strongly the model is kept near the one it starts from. */
  readonly beta: number;
}

const objectives: Readonly<Record<string, (keys: ObjectiveKeys) => Objective>> = {
  'next-token': () => nextToken,
  'packed-tokens': () => packedTokens,
  classes: () => classes,
  dpo,
  grpo,
  ppo,
  reward: () => reward,
  seq2seq: () => seq2seq,
};

/** @throws PeerError if this version does not have this objective */
export function objectiveOf(name: string, keys: ObjectiveKeys): Objective {
  // The name comes over the wire; `constructor` is a name that every object inherits.
  if (Object.hasOwn(objectives, name)) return objectives[name]!(keys);
  const known = Object.keys(objectives).join(', ');
  throw new PeerError(`expected an objective that this version has (${known}), received ${name}`);
}

/**
 * The one schema of a training run: every key with its default, its bounds, its unit and its documentation. Everything else
 * about configs (error messages, `docs/config.md`, the rendered `config.yaml` of a run) is derived from it.
 *
 * Each group is a file in groups/; most keys of the model group come from the architectures (architecture/registry.ts). This module
 * combines them, and applies the rules between keys (crossChecks.ts).
 *
 * It does not read files: see load.ts. Units are in the name (`...Ms`, `...Bytes...`, `...Steps`) or in the documentation.
 */
import { z } from 'zod';
import type { Config, ConfigInput } from './configTypes.ts';
import { crossChecks } from './crossChecks.ts';
import { checkpoint } from './groups/checkpoint.ts';
import { comm } from './groups/comm.ts';
import { data } from './groups/data.ts';
import { engine } from './groups/engine.ts';
import { evaluation } from './groups/eval.ts';
import { model } from './groups/model.ts';
import { optimizer } from './groups/optimizer.ts';
import { sample } from './groups/sample.ts';
import { schedule } from './groups/schedule.ts';
import { task } from './groups/task.ts';
import { train } from './groups/train.ts';

const groups = z.strictObject({
  model: model.prefault({}),
  data: data.prefault({}),
  task: task.prefault({}),
  train: train.prefault({}),
  optimizer: optimizer.prefault({}),
  schedule: schedule.prefault({}),
  checkpoint: checkpoint.prefault({}),
  eval: evaluation.prefault({}),
  sample: sample.prefault({}),
  engine: engine.prefault({}),
  comm: comm.prefault({}),
});

/**
 * Parses a plain object (from YAML, a checkpoint or a message) into a complete config. Unknown keys fail. A broken
 * rule between keys is a `custom` issue on its key, with the check's index in `params.crossCheck` and the reason in `params.detail`.
 */
export const configSchema: z.ZodType<Config, ConfigInput> = groups.superRefine((config, context) => {
  for (const [index, check] of crossChecks.entries()) {
    if (check.holds(config)) continue;
    context.addIssue({
      code: 'custom',
      path: check.key.split('.'),
      message: `${shownKey(check.key, config)} ${check.must} ${shownKey(check.other, config)}`,
      params: { crossCheck: index, detail: check.detail?.(config), cure: check.cure },
    });
  }
});

/** A key and its value: `model.architecture = "gpt2"`. */
function shownKey(dotted: string, config: Config): string {
  const [group = '', key = ''] = dotted.split('.');
  const value: unknown = Object.entries(config[group as keyof Config]).find(([name]) => name === key)?.[1];
  return value === undefined ? dotted : `${dotted} = ${JSON.stringify(value)}`;
}

/** The groups by name, for documentation and rendering. Most keys of the model depend on its architecture. */
export const groupSchemas = {
  model,
  data,
  task,
  train,
  optimizer,
  schedule,
  checkpoint,
  eval: evaluation,
  sample,
  engine,
  comm,
};

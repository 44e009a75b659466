/**
 * The schema seen as a list of keys: group, name, default, documentation, what is expected. Error messages, the rendered config
 * and docs/config.md all come from this list, so they cannot disagree with the schema.
 */
import { distance } from 'fastest-levenshtein';
import type { z } from 'zod';
import { groupSchemas } from './schema.ts';

export interface ConfigKey {
  /** `model.nLayer`. */
  readonly path: string;
  readonly group: string;
  readonly name: string;
  readonly doc: string;
  /** What a value must be, as it completes "expected ...". */
  readonly expects: string;
  readonly defaultValue: unknown;
  /** Parses one value of this key. */
  readonly schema: z.ZodType;
}

export interface ConfigGroup {
  readonly name: string;
  readonly doc: string;
  readonly keys: readonly ConfigKey[];
}

/** Every group and key, in the schema's order. */
export const configGroups: readonly ConfigGroup[] = Object.entries(groupSchemas).map(([group, schema]) => ({
  name: group,
  doc: schema.meta()?.description ?? '',
  keys: Object.entries(schema.shape as Record<string, z.ZodType>).map(([name, leaf]) => ({
    path: `${group}.${name}`,
    group,
    name,
    doc: leaf.meta()?.description ?? '',
    expects: String(leaf.meta()?.['expects'] ?? ''),
    defaultValue: leaf.parse(undefined),
    schema: leaf,
  })),
}));

const keysByPath = new Map(configGroups.flatMap((group) => group.keys.map((key) => [key.path, key])));

/** The key `group.name`, if there is one. */
export function configKey(path: string): ConfigKey | undefined {
  return keysByPath.get(path);
}

/**
 * The known key nearest to a mistyped one: first among the keys of its group, then in any group (`nLayer` for `model.nLayer`,
 * `model.maxSteps` for `train.maxSteps`), then among the groups. Case, `_` and `-` do not count, so `n_layer` finds `nLayer`.
 */
export function nearestKey(path: string): string | undefined {
  const [group = '', name] = path.split('.');
  const inGroup = configGroups.find((candidate) => candidate.name === group)?.keys ?? [];
  const lastPart = name ?? group;
  return (
    nearest(lastPart, inGroup, (key) => key.name)?.path ??
    (name === undefined ? nearest(group, configGroups, (candidate) => candidate.name)?.name : undefined) ??
    nearest(path, [...keysByPath.values()], (key) => key.path)?.path ??
    nearest(lastPart, [...keysByPath.values()], (key) => key.name)?.path
  );
}

/** The candidate whose text is nearest to `text`, if any is near enough to be a typing error. */
export function nearest<T>(text: string, candidates: readonly T[], textOf: (candidate: T) => string): T | undefined {
  const wanted = plain(text);
  let best: T | undefined;
  // Half of the letters wrong is another word.
  let bestDistance = Math.max(1, Math.floor(wanted.length / 2.5)) + 1;
  for (const candidate of candidates) {
    const candidateDistance = distance(wanted, plain(textOf(candidate)));
    if (candidateDistance < bestDistance) {
      best = candidate;
      bestDistance = candidateDistance;
    }
  }
  return best;
}

function plain(text: string): string {
  return text
    .slice(0, 200)
    .toLowerCase()
    .replaceAll(/[-_\s]/g, '');
}

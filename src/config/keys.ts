/**
 * The schema as a list of keys: group, name, default, documentation, accepted values. Error messages, the rendered config and
 * docs/config.md come from this list, so they cannot disagree with the schema.
 */
import { z } from 'zod';
import { architectureDoc } from '../architecture/architecture.ts';
import { architectures } from '../architecture/registry.ts';
import { nearest } from '../base/nearest.ts';
import { modelSourceKeys } from './groups/model.ts';
import { renamedKey } from './renamedKeys.ts';
import { groupSchemas } from './schema.ts';

export interface ConfigKey {
  /** `model.nLayer`. */
  readonly path: string;
  readonly group: string;
  readonly name: string;
  readonly doc: string;
  /** The accepted values, as text that completes "expected ...". */
  readonly expects: string;
  readonly defaultValue: unknown;
  /** Parses one value of this key. */
  readonly schema: z.ZodType;
}

/** The keys that a group has for one value of its selecting key, such as the model keys of one architecture. */
export interface GroupVariant {
  /** The value of the selecting key. */
  readonly name: string;
  readonly doc: string;
  /** Without the selecting key. */
  readonly keys: readonly ConfigKey[];
}

export interface ConfigGroup {
  readonly name: string;
  readonly doc: string;
  /** The keys in every variant. */
  readonly keys: readonly ConfigKey[];
  /** Exactly one applies; the first is the default. Empty for a group without variants. */
  readonly variants: readonly GroupVariant[];
}

function keysOf(group: string, schema: z.ZodObject): ConfigKey[] {
  return Object.entries(schema.shape as Record<string, z.ZodType>).map(([name, leaf]) => ({
    path: `${group}.${name}`,
    group,
    name,
    doc: leaf.meta()?.description ?? '',
    expects: String(leaf.meta()?.['expects'] ?? ''),
    defaultValue: leaf.safeParse(undefined).data,
    schema: leaf,
  }));
}

/** The model group: the architecture, the keys that all architectures share, and the keys of each one. */
const modelGroup: ConfigGroup = {
  name: 'model',
  doc: groupSchemas.model.meta()?.description ?? '',
  keys: [
    {
      path: 'model.architecture',
      group: 'model',
      name: 'architecture',
      doc: architectureDoc,
      expects: `one of ${architectures.map(({ name }) => name).join(', ')}`,
      defaultValue: architectures[0]?.name,
      schema: z.enum(architectures.map(({ name }) => name)),
    },
    ...keysOf('model', modelSourceKeys),
  ],
  variants: architectures.map(({ name, doc, keys }) => ({
    name,
    doc,
    keys: keysOf('model', keys).filter((key) => key.name !== 'architecture'),
  })),
};

/** Every group and key, in the schema's order. */
export const configGroups: readonly ConfigGroup[] = Object.entries(groupSchemas).map(([name, schema]) =>
  'shape' in schema
    ? { name, doc: schema.meta()?.description ?? '', keys: keysOf(name, schema), variants: [] }
    : modelGroup,
);

/** The variant that a group's values select. */
function variantOf(
  { keys, variants }: ConfigGroup,
  values: Readonly<Record<string, unknown>>,
): GroupVariant | undefined {
  const chosen = values[keys[0]?.name ?? ''];
  return variants.find(({ name }) => name === chosen) ?? variants[0];
}

/** The keys that apply to a group with these values. */
export function keysIn(group: ConfigGroup, values: Readonly<Record<string, unknown>>): readonly ConfigKey[] {
  return [...group.keys, ...(variantOf(group, values)?.keys ?? [])];
}

const allKeys = configGroups.flatMap(({ keys, variants }) => [...keys, ...variants.flatMap((variant) => variant.keys)]);

/** The path of every key, such as `model.nLayer`. */
export const keyPaths: readonly string[] = [...new Set(allKeys.map(({ path }) => path))];

/** The key `group.name`, or undefined if it does not exist. If several variants have it: the one that `values` select, otherwise the first. */
export function configKey(path: string, values: Readonly<Record<string, unknown>> = {}): ConfigKey | undefined {
  const named = allKeys.filter((key) => key.path === path);
  const group = configGroups.find(({ name }) => name === named[0]?.group);
  return (group && keysIn(group, values).find((key) => key.path === path)) ?? named[0];
}

/** The variants that have the key at `path`, and the key that selects the variant; undefined for keys of groups without variants. */
export function variantsWith(path: string): { chooser: string; names: string[] } | undefined {
  for (const { keys, variants } of configGroups) {
    const names = variants.filter((variant) => variant.keys.some((key) => key.path === path)).map(({ name }) => name);
    if (names.length > 0) return { chooser: keys[0]?.path ?? '', names };
  }
  return undefined;
}

/** Names such as `name`, `kind` and `text` mean little without their group: `run.name` is not a mistyped `engine.name`. */
const shortNameMax = 4;

/**
 * The known key nearest to a mistyped one. A renamed key gives its new name, and a name that only one other group has gives that key.
 * Otherwise the search covers the keys of its group, which has `values`, then all groups (`nLayer` finds `model.nLayer`, `model.maxSteps` finds `train.maxSteps`), then the group names. It
 * ignores case, `_` and `-`, so `n_layer` finds `nLayer`.
 */
export function nearestKey(path: string, values: Readonly<Record<string, unknown>> = {}): string | undefined {
  const today = renamedKey(path);
  if (today !== undefined) return today;
  const [group = '', name] = path.split('.');
  const found = configGroups.find((candidate) => candidate.name === group);
  const lastPart = name ?? group;
  const elsewhere = new Set(allKeys.filter((key) => key.name === lastPart).map((key) => key.path));
  if (name !== undefined && lastPart.length > shortNameMax && elsewhere.size === 1) return [...elsewhere][0];
  return (
    nearest(lastPart, found === undefined ? [] : keysIn(found, values), (key) => key.name)?.path ??
    (name === undefined ? nearest(group, configGroups, (candidate) => candidate.name)?.name : undefined) ??
    nearest(path, allKeys, (key) => key.path)?.path ??
    (found !== undefined || lastPart.length > shortNameMax
      ? nearest(lastPart, allKeys, (key) => key.name)?.path
      : undefined)
  );
}

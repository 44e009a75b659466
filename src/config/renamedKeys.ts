/** Renamed keys: files of old runs and checkpoints use the old names. */
import { isRecord } from '../base/optionValues.ts';

/** New paths by old path. */
const renamed: Readonly<Record<string, string>> = { 'train.leases': 'train.batchSplit' };

/** Keys that once took another kind of value: such values now belong to another key. */
const parted: Readonly<Record<string, { to: string; holds: (value: unknown) => boolean }>> = {
  // Formerly a backend of TensorFlow.js, now an index.
  'engine.device': { to: 'engine.deviceKind', holds: (value) => typeof value === 'string' && value !== 'auto' },
};

const moves = Object.entries({
  ...Object.fromEntries(Object.entries(renamed).map(([from, to]) => [from, { to, holds: () => true }])),
  ...parted,
});

/** Values that a key no longer takes, with the keys to set instead. */
const removedValues: Readonly<Record<string, Readonly<Record<string, Readonly<Record<string, string>>>>>> = {
  // Formerly TensorFlow.js on a GPU.
  'engine.deviceKind': { webgpu: { 'engine.name': 'webgpu', 'engine.deviceKind': 'auto' } },
};

function replacementOf(path: string, value: unknown): Readonly<Record<string, string>> | undefined {
  const values = Object.hasOwn(removedValues, path) ? removedValues[path]! : {};
  return typeof value === 'string' && Object.hasOwn(values, value) ? values[value] : undefined;
}

/** What to set instead of a value that a key no longer takes, as a sentence; undefined for others. */
export function replacementText(path: string, value: unknown): string | undefined {
  const keys = Object.entries(replacementOf(path, value) ?? {});
  if (keys.length === 0) return undefined;
  return `Set ${keys.map(([key, to]) => `${key} to ${to}`).join(' and ')} instead.`;
}

/** The config of an old run, as it would be written today: with current names and values. */
export function storedConfig(config: unknown): unknown {
  const today = withTodaysKeys(config);
  if (!isRecord(today)) return today;
  const result: Record<string, unknown> = { ...today };
  for (const path of Object.keys(removedValues)) {
    const [group = '', name = ''] = path.split('.');
    const keys = result[group];
    const replacement = isRecord(keys) ? replacementOf(path, keys[name]) : undefined;
    for (const [key, value] of Object.entries(replacement ?? {})) {
      const [toGroup = '', toName = ''] = key.split('.');
      result[toGroup] = { ...(result[toGroup] as object), [toName]: value };
    }
  }
  return result;
}

/** The current name of a renamed key; undefined if it was never renamed. */
export function renamedKey(path: string): string | undefined {
  return Object.hasOwn(renamed, path) ? renamed[path] : undefined;
}

/** The current path for a value written at `path`; the same path if it was never renamed. */
export function todaysPath(path: string, value: unknown): string {
  const move = moves.find(([from, { holds }]) => from === path && holds(value));
  return move?.[1].to ?? path;
}

/** The former path of a key; the same path if it was never renamed. */
export function formerPath(path: readonly PropertyKey[]): readonly PropertyKey[] {
  const dotted = path.slice(0, 2).join('.');
  const former = moves.find(([, { to }]) => to === dotted)?.[0];
  return former === undefined ? path : [...former.split('.'), ...path.slice(2)];
}

/**
 * A config with current names. An old key stays if its new name is given as well, so that the schema reports it.
 * @param config parsed from YAML or JSON, not checked yet
 */
export function withTodaysKeys(config: unknown): unknown {
  if (!isRecord(config)) return config;
  const result = { ...config };
  for (const [from, { to, holds }] of moves) {
    const [group = '', oldName = ''] = from.split('.');
    const [, newName = ''] = to.split('.');
    const keys = result[group];
    if (!isRecord(keys) || !Object.hasOwn(keys, oldName) || Object.hasOwn(keys, newName)) continue;
    const { [oldName]: value, ...rest } = keys;
    if (!holds(value)) continue;
    result[group] = { ...rest, [newName]: value };
  }
  return result;
}

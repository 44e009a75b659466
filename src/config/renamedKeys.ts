/** Keys that have another name now: the files of old runs and checkpoints have the old one. */

/** By old path. */
const renamed: Readonly<Record<string, string>> = { 'train.leases': 'train.batchSplit' };

/** Keys whose values were of another kind: what is written of that kind is now of the other key. */
const parted: Readonly<Record<string, { to: string; holds: (value: unknown) => boolean }>> = {
  // It was a backend of TensorFlow.js; now it is an index.
  'engine.device': { to: 'engine.deviceKind', holds: (value) => typeof value === 'string' && value !== 'auto' },
};

const moves = Object.entries({
  ...Object.fromEntries(Object.entries(renamed).map(([from, to]) => [from, { to, holds: () => true }])),
  ...parted,
});

/** What a key of before is called today; undefined for one that was never renamed. */
export function renamedKey(path: string): string | undefined {
  return Object.hasOwn(renamed, path) ? renamed[path] : undefined;
}

/** Where a value belongs today that was written for a path; the same for one that was never renamed. */
export function todaysPath(path: string, value: unknown): string {
  const move = moves.find(([from, { holds }]) => from === path && holds(value));
  return move?.[1].to ?? path;
}

/** The path of a key as it was before; the same for one that was never renamed. */
export function formerPath(path: readonly PropertyKey[]): readonly PropertyKey[] {
  const dotted = path.slice(0, 2).join('.');
  const former = moves.find(([, { to }]) => to === dotted)?.[0];
  return former === undefined ? path : [...former.split('.'), ...path.slice(2)];
}

/**
 * A config as it would be written today. A key stays where its new name is given as well: that is a mistake of the file.
 * @param config as YAML or JSON has it, not checked yet
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

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

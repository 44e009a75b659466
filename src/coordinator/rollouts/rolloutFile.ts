/**
 * The contents of rollouts/iteration-NNNNNN.safetensors: everything that the steps of an iteration learn from, except the prompts, which
 * are in the data. The same rollouts and rewards give the same bytes.
 */
import { UserError } from '../../base/errors.ts';
import { encodeSafetensorsHeader, headerOf, type SafetensorsHeader } from '../../checkpoint/safetensors.ts';
import type { Rollout } from '../../task/rollouts.ts';

/** An iteration's rollouts with their rewards, rounded to float32. */
export interface IterationRollouts {
  /** Counted from 1. */
  readonly iteration: number;
  /** In the order of their prompts; `group` of each. */
  readonly rollouts: readonly (Rollout & { readonly reward: number })[];
}

const format = 'lockstep-rollouts';
const version = '1';

export function encodeRollouts({ iteration, rollouts }: IterationRollouts): Uint8Array {
  const integers = (name: string, numbers: readonly number[]) => column(name, 'I32', Int32Array.from(numbers));
  const floats = (name: 'logprobs' | 'reference' | 'values') =>
    column(name, 'F32', Float32Array.from(rollouts.flatMap((rollout) => [...(rollout[name] ?? [])])));
  const columns = [
    integers(
      'prompts',
      rollouts.map(({ prompt }) => prompt),
    ),
    integers(
      'members',
      rollouts.map(({ member }) => member),
    ),
    integers(
      'ended',
      rollouts.map(({ ended }) => Number(ended)),
    ),
    integers(
      'lengths',
      rollouts.map(({ tokens }) => tokens.length),
    ),
    column(
      'rewards',
      'F32',
      Float32Array.from(rollouts, ({ reward }) => reward),
    ),
    integers(
      'tokens',
      rollouts.flatMap(({ tokens }) => [...tokens]),
    ),
    floats('logprobs'),
    floats('reference'),
    ...(rollouts[0]?.values === undefined ? [] : [floats('values')]),
  ];
  const tensors = columns.map(({ name, dtype, data }) => ({ name, dtype, shape: [data.length] }));
  const facts = { format, version, iteration: String(iteration) };
  const parts = columns.map(({ data }) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  return new Uint8Array(Buffer.concat([encodeSafetensorsHeader(tensors, facts), ...parts]));
}

/** @param path names the file in errors @throws UserError for other contents than an iteration's rollouts */
export function decodeRollouts(file: Uint8Array, path: string): IterationRollouts {
  const header = headerOf(file, path);
  const { metadata } = header;
  if (metadata['format'] !== format || metadata['version'] !== version) {
    throw new UserError(
      `${path}: expected ${format} of version ${version}, received ${metadata['format']} of version ${metadata['version']}`,
    );
  }
  const read = (name: string) => numbersOf(header, file, { name, path });
  const lengths = read('lengths');
  const [prompts, members, ended, rewards] = ['prompts', 'members', 'ended', 'rewards'].map(read);
  const hasValues = header.entries.some(({ name }) => name === 'values');
  const [tokens, logprobs, reference, values] = [
    'tokens',
    'logprobs',
    'reference',
    ...(hasValues ? ['values'] : []),
  ].map(read);
  let at = 0;
  const rollouts = Array.from(lengths, (length, i) => {
    const slice = <T extends Int32Array | Float32Array>(numbers: Int32Array | Float32Array) =>
      numbers.slice(at, at + length) as T;
    const rollout = {
      prompt: prompts![i]!,
      member: members![i]!,
      tokens: slice<Int32Array>(tokens!),
      logprobs: slice<Float32Array>(logprobs!),
      reference: slice<Float32Array>(reference!),
      ...(values && { values: slice<Float32Array>(values) }),
      ended: ended![i] === 1,
      reward: rewards![i]!,
    };
    at += length;
    return rollout;
  });
  return { iteration: Number(metadata['iteration']), rollouts };
}

function column(name: string, dtype: 'I32' | 'F32', data: Int32Array | Float32Array) {
  return { name, dtype, data } as const;
}

function numbersOf(
  { entries }: SafetensorsHeader,
  file: Uint8Array,
  { name, path }: { name: string; path: string },
): Int32Array | Float32Array {
  const entry = entries.find((found) => found.name === name);
  if (entry === undefined || (entry.dtype !== 'I32' && entry.dtype !== 'F32')) {
    throw new UserError(`${path}: expected the numbers ${name}, which it does not have`);
  }
  // A copy of its own, aligned to four bytes.
  const { buffer } = new Uint8Array(file.subarray(entry.begin, entry.end));
  return entry.dtype === 'I32' ? new Int32Array(buffer) : new Float32Array(buffer);
}

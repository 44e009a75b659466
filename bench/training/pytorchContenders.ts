/** PyTorch in a comparison of training steps on processors. */
import type { TrainedShape } from '../../src/bench/stepRunner.ts';
import type { EnginePrecision } from '../../src/engine/precision.ts';
import type { Contender, OpenedContenders } from './contender.ts';
import { openPyTorch, type PeerPrecision, type PyTorchOptions, type PyTorchPeer } from './pytorchPeer.ts';

interface PyTorchContendersOptions {
  readonly python: string;
  readonly precisions: readonly EnginePrecision[];
  readonly compiled: boolean;
  /** The most that it may use. */
  readonly threads: number;
}

/** @throws UserError where it is missing */
export async function openPyTorchContenders(
  shape: TrainedShape,
  { python, precisions, compiled, threads }: PyTorchContendersOptions,
): Promise<OpenedContenders> {
  const opened: PyTorchPeer[] = [];
  const close = async (): Promise<void> => {
    for (const peer of opened) peer.close();
  };
  const open = async (options: PyTorchOptions) => {
    const peer = await openPyTorch(python, shape, options);
    opened.push(peer);
    return peer;
  };
  try {
    const contenders: Contender[] = [];
    for (const precision of precisions) {
      contenders.push(...(await theirs(open, precision as PeerPrecision, compiled, threads)));
    }
    return { contenders, missing: [], close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Eager and compiled, with the number of threads that is faster for this shape in eager mode: small ones are slower with several. */
async function theirs(
  open: (options: PyTorchOptions) => Promise<PyTorchPeer>,
  precision: PeerPrecision,
  compiled: boolean,
  most: number,
): Promise<Contender[]> {
  const eager = await open({ precision, compiled: false });
  const threads = await fasterThreads(eager, most);
  const contender = (peer: PyTorchPeer, suffix: string): Contender => ({
    name: `PyTorch ${peer.version} ${precision}${suffix}`,
    precision,
    isOurs: false,
    threads,
    step: () => peer.step(threads),
    ms: [],
  });
  if (!compiled) return [contender(eager, '')];
  const faster = await open({ precision, compiled: true });
  // The first step compiles; the second may once more.
  for (let step = 0; step < 2; step++) await faster.step(threads);
  return [contender(eager, ''), contender(faster, ' compiled')];
}

async function fasterThreads(peer: PyTorchPeer, most: number): Promise<number> {
  await peer.step(most);
  const candidates: { count: number; ms: number }[] = [];
  for (const count of new Set([1, most])) {
    const first = await peer.step(count);
    candidates.push({ count, ms: first > 1000 ? first : Math.min(first, await peer.step(count)) });
  }
  return candidates.toSorted((a, b) => a.ms - b.ms)[0]!.count;
}

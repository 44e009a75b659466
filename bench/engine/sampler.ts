/** Times calls of an engine, many at a time. */
import type { Engine } from '../../src/engine/engine.ts';

/** A call that takes longer is not warmed up before each sample. */
export const slowMs = 150;

/** After a first call: a function that gives the microseconds of one, from about `ms` milliseconds of them. */
export async function sampler(
  engine: Engine,
  call: () => void,
): Promise<{ sample: (ms: number) => Promise<number>; callMs: number }> {
  const timeOf = async (repetitions: number): Promise<number> => {
    await engine.finish();
    const start = performance.now();
    for (let i = 0; i < repetitions; i++) call();
    await engine.finish();
    return (performance.now() - start) / repetitions;
  };
  let callMs = await timeOf(1);
  const sample = async (ms: number): Promise<number> => {
    if (callMs < slowMs) call(); // others have used the caches meanwhile
    callMs = await timeOf(Math.max(1, Math.round(ms / callMs)));
    return callMs * 1000;
  };
  return { sample, callMs };
}

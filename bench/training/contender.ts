/** What takes part in a comparison of training steps. */
import { StepRunner, type TrainedShape, totalMs } from '../../src/bench/stepRunner.ts';
import type { Engine } from '../../src/engine/engine.ts';
import type { EnginePrecision } from '../../src/engine/precision.ts';

export interface Contender {
  readonly name: string;
  readonly precision: EnginePrecision;
  readonly isOurs: boolean;
  readonly threads: number;
  /** One step, in milliseconds. */
  readonly step: () => Promise<number>;
  readonly ms: number[];
}

/** Other libraries that are ready, after steps that are not timed. */
export interface OpenedContenders {
  readonly contenders: readonly Contender[];
  /** For each library that is missing: why, and how to have it. */
  readonly missing: readonly string[];
  close(): Promise<void>;
}

/** Lockstep on an engine, after a step that is not timed. */
export async function ours(
  engine: Engine,
  shape: TrainedShape & { readonly precision: EnginePrecision },
): Promise<Contender> {
  const { precision } = shape;
  return {
    name: `Lockstep ${precision}`,
    precision,
    isOurs: true,
    threads: engine.threads ?? 1,
    ...(await steps(engine, shape)),
  };
}

/** Steps of an engine, after one that is not timed. */
export async function steps(engine: Engine, shape: TrainedShape): Promise<Pick<Contender, 'step' | 'ms'>> {
  const runner = new StepRunner(engine, shape);
  const step = async (): Promise<number> => totalMs(await runner.step());
  await step();
  return { step, ms: [] };
}

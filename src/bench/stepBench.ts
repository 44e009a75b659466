/**
 * Times complete training steps of one replica, without data, network or checkpoints: forward, backward and AdamW on random
 * tokens. Additional steps time each kernel, so that this does not disturb the first ones.
 */
import { architectureOf, parameterCount } from '../architecture/registry.ts';
import { type PhaseFlops, phaseFlops, stepFlopFormula } from '../architecture/work.ts';
import { median } from '../base/statistics.ts';
import type { Engine } from '../engine/engine.ts';
import type { Precision } from '../model/computing.ts';
import { type KernelSummary, summariseKernels, type TimedStep } from './kernelSummary.ts';
import { KernelTimer } from './kernelTimer.ts';
import { limitIn, type Machine, measureMachine, withBetterLimit } from './machine.ts';
import { StepRunner, type StepTimes, type TrainedShape, totalMs } from './stepRunner.ts';

export interface StepBenchOptions extends TrainedShape {
  /** Number of timed steps after the warm-up. At most `kernelStepsMost` more steps time the kernels. */
  readonly steps: number;
  /** Separates calls of a kernel with different shapes. */
  readonly byShape?: boolean;
}

/** Receives each result as soon as it is known. */
export interface StepBenchListener {
  started?(head: StepBenchHead): void;
  /** The fraction of all steps that is done, from 0 to 1. */
  progress?(done: number): void;
  /** Called before the kernels are timed. */
  stepsTimed?(results: readonly StepBenchResult[]): void;
}

export interface StepBenchResult {
  /** The complete step, or one of its phases. */
  readonly name: 'step' | 'forward' | 'backward' | 'optimizer';
  readonly shape: string;
  readonly medianMs: number;
  readonly minMs: number;
  /** 10^9 floating-point operations per second, from the median time and `formula`; absent for the optimizer. */
  readonly gflops?: number;
  /** `gflops` divided by the machine's `fmaGflops`; absent if the engine cannot measure that. */
  readonly ofLimit?: number;
  /** `gflops` divided by the machine's `bf16Gflops` or `f16Gflops`, if that is the precision. */
  readonly ofBf16Limit?: number;
  readonly ofF16Limit?: number;
  readonly tokensPerSecond?: number;
}

/** Facts known before the first step. */
export interface StepBenchHead {
  readonly machine: Machine | undefined;
  readonly engine: string;
  readonly precision: Precision;
  readonly shape: string;
  readonly parameters: number;
  readonly tokensPerStep: number;
  readonly steps: number;
}

export interface StepBenchReport extends StepBenchHead {
  readonly formula: string;
  readonly results: readonly StepBenchResult[];
  readonly kernels: KernelSummary;
  /** The maximum resident size of this process, and the maximum size of the engine's tensors. */
  readonly peakResidentBytes: number;
  readonly peakTensorBytes: number;
}

const kernelStepsMost = 10;
/** Untimed warm-up: two steps, or one if it takes longer than this. */
const warmUpSteps = 2;
const warmUpMs = 3000;

export async function runStepBench(
  engine: Engine,
  options: StepBenchOptions,
  listener: StepBenchListener = {},
): Promise<StepBenchReport> {
  const { model, train, steps, byShape = false } = options;
  const kernelSteps = Math.min(steps, kernelStepsMost);
  const head: StepBenchHead = {
    machine: await measureMachine(engine),
    engine: engine.description,
    precision: options.precision ?? 'float32',
    shape: `B ${train.globalBatchSize} T ${model.blockSize} V ${model.vocabSize}, ${architectureOf(model).summary(model)}`,
    parameters: parameterCount(model),
    tokensPerStep: train.globalBatchSize * model.blockSize,
    steps,
  };
  listener.started?.(head);

  const timer = new KernelTimer(engine);
  const runner = new StepRunner(timer.engine, options);
  let stepsRun = 0;
  const run = async (): Promise<StepTimes> => {
    const times = await runner.step();
    listener.progress?.(++stepsRun / (warmUpSteps + steps + kernelSteps));
    return times;
  };
  for (let step = 0, ms = 0; step < warmUpSteps && ms < warmUpMs; step++) ms += totalMs(await run());
  const samples: StepTimes[] = [];
  while (samples.length < steps) samples.push(await run());
  // On the engine itself, right before and after the steps, so that both see the same neighbours and clock rate.
  const machine = head.machine && (await withBetterLimit(head.machine, engine));
  const results = resultsOf(samples, head, phaseFlops(model, head.tokensPerStep, train.trainable), machine);
  listener.stepsTimed?.(results);

  const timedSteps: TimedStep[] = [];
  while (timedSteps.length < kernelSteps) {
    const { calls, result } = await timer.timed(run);
    timedSteps.push({ calls, wallMs: totalMs(result) });
  }
  return {
    ...head,
    machine,
    formula: stepFlopFormula,
    results,
    kernels: summariseKernels(timedSteps, { machine, byShape, clock: timer.clock }),
    peakResidentBytes: process.resourceUsage().maxRSS * 1024,
    peakTensorBytes: engine.memory().bytesPeak,
  };
}

function resultsOf(
  samples: readonly StepTimes[],
  { shape, precision, tokensPerStep }: StepBenchHead,
  { forward, backward }: PhaseFlops,
  machine: Machine | undefined,
): StepBenchResult[] {
  const result = (name: StepBenchResult['name'], times: number[], flops: number): StepBenchResult => {
    const medianMs = median(times);
    const gflops = flops / medianMs / 1e6;
    return {
      name,
      shape,
      medianMs,
      minMs: Math.min(...times),
      ...(flops > 0 && { gflops }),
      ...(flops > 0 && machine && { ofLimit: gflops / machine.fmaGflops }),
      ...(flops > 0 && machine && ofHalfLimit(gflops, precision, machine)),
      ...(name === 'step' && { tokensPerSecond: (1000 * tokensPerStep) / medianMs }),
    };
  };
  const column = (phase: keyof StepTimes): number[] => samples.map((sample) => sample[phase]);
  return [
    result('step', samples.map(totalMs), forward + backward),
    result('forward', column('forwardMs'), forward),
    result('backward', column('backwardMs'), backward),
    result('optimizer', column('optimizerMs'), 0),
  ];
}

function ofHalfLimit(
  gflops: number,
  precision: Precision,
  machine: Machine,
): Pick<StepBenchResult, 'ofBf16Limit' | 'ofF16Limit'> {
  const limit = limitIn(precision, machine);
  if (limit === undefined || precision === 'float32') return {};
  return precision === 'bf16' ? { ofBf16Limit: gflops / limit } : { ofF16Limit: gflops / limit };
}

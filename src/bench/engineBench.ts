/**
 * Times the native engine's kernels at the shapes of the shipped configs, against the floating-point limit that the machine reaches
 * in the same run. Speed only: test/parity/kernels compares the results with the reference.
 */
import { randomKey } from '../base/counterRandom.ts';
import type { Shape, Tensor } from '../engine/engine.ts';
import { createNativeEngine, type NativeEngine, type NativeEngineOptions } from '../engine/native/nativeEngine.ts';
import { type Machine, measureMachine, withBetterLimit } from './machine.ts';
import type { BenchReport, BenchResult } from './report.ts';

const sampleMs = 15;
/** Samples of one kernel, and of one whose single call takes longer than `slowMs`. */
const samplesMost = 9;
const samplesSlow = 3;
const slowMs = 150;

/** One kernel at one shape. */
interface Case {
  readonly name: string;
  readonly shape: string;
  readonly flops?: number;
  /** Read and written, each array once. */
  readonly bytes?: number;
  /** Makes its tensors with `tensor` and returns the call that is timed. */
  readonly prepare: (engine: NativeEngine, tensor: (...shape: number[]) => Tensor) => () => void;
}

/** The products of one shipped config: N rows of C channels. */
interface ModelShape {
  readonly rows: number;
  readonly t: number;
  readonly c: number;
  readonly nHead: number;
  readonly v: number;
}

const modelShapes: readonly ModelShape[] = [
  { rows: 768, t: 64, c: 128, nHead: 4, v: 65 }, // shakespeare-char
  { rows: 4096, t: 256, c: 384, nHead: 6, v: 65 }, // shakespeare-gpt
  { rows: 1024, t: 1024, c: 768, nHead: 12, v: 50257 }, // gpt-small
];

export async function runEngineBench(options: NativeEngineOptions): Promise<BenchReport> {
  const machine = await measureMachine(options);
  const engine = createNativeEngine({ isa: options.isa ?? 'auto', threads: machine.threads });
  const cases = [linearCase('linearForward', 1024, 768, 3072), ...modelShapes.flatMap(casesOf)];
  const timed = cases.map((kernel) => ({ kernel, ...time(engine, kernel) }));
  const measured = withBetterLimit(machine, engine);
  await engine.dispose();
  return {
    machine: measured,
    results: timed.map(({ kernel, medianUs, minUs }) => resultOf(kernel, medianUs, minUs, measured)),
  };
}

function resultOf({ name, shape, flops, bytes }: Case, medianUs: number, minUs: number, machine: Machine): BenchResult {
  const rate = (amount: number) => amount / medianUs / 1e3;
  return {
    name,
    shape,
    medianUs,
    minUs,
    ...(flops !== undefined && { gflops: rate(flops), ofLimit: rate(flops) / machine.fmaGflops }),
    ...(bytes !== undefined && { gbytes: rate(bytes) }),
  };
}

function time(engine: NativeEngine, { prepare }: Case): { medianUs: number; minUs: number } {
  const tensors: Tensor[] = [];
  const call = prepare(engine, (...shape) => {
    const tensor = randomTensor(engine, shape);
    tensors.push(tensor);
    return tensor;
  });
  call();
  const start = performance.now();
  call();
  const firstMs = performance.now() - start;
  const samples = firstMs > slowMs ? samplesSlow : samplesMost;
  const repetitions = Math.max(1, Math.round(sampleMs / firstMs));
  const times = Array.from({ length: samples }, () => {
    const before = performance.now();
    for (let i = 0; i < repetitions; i++) call();
    return ((performance.now() - before) / repetitions) * 1000;
  }).sort((a, b) => a - b);
  for (const tensor of tensors) engine.release(tensor);
  return { medianUs: times[samples >> 1]!, minUs: times[0]! };
}

/** Values in [-0.5, 0.5) from a short cycle: kernels take as long whatever the values, while zeros or denormals might not. */
function randomTensor(engine: NativeEngine, shape: Shape): Tensor {
  const tensor = engine.alloc(shape);
  const data = engine.hostView(tensor)!;
  for (let i = 0; i < data.length; i++) data[i] = ((i * 7919) % 8191) / 8191 - 0.5;
  return tensor;
}

function linearCase(name: 'linearForward' | 'linearBackward', n: number, ic: number, oc: number): Case {
  const forward = name === 'linearForward';
  return {
    name,
    shape: `${n}×${ic}×${oc}`,
    flops: (forward ? 2 : 4) * n * ic * oc,
    prepare: (engine, tensor) => {
      const [inp, weight, bias, out] = [tensor(n, ic), tensor(ic, oc), tensor(oc), tensor(n, oc)];
      if (forward) return () => engine.linearForward({ inp, weight, bias, out });
      const [dinp, dweight, dbias] = [tensor(n, ic), tensor(ic, oc), tensor(oc)];
      return () => engine.linearBackward({ inp, weight, dout: out, dinp, dweight, dbias });
    },
  };
}

function casesOf({ rows, t, c, nHead, v }: ModelShape): Case[] {
  const products = [
    [c, 3 * c],
    [c, c],
    [c, 4 * c],
    [4 * c, c],
    [c, v],
  ] as const;
  return [
    ...products.flatMap(([ic, oc]) => [
      linearCase('linearForward', rows, ic, oc),
      linearCase('linearBackward', rows, ic, oc),
    ]),
    ...attentionCases(rows / t, t, c, nHead),
    ...rowCases(rows, c, v),
  ];
}

function attentionCases(b: number, t: number, c: number, nHead: number): Case[] {
  const shape = `B=${b} T=${t} NH=${nHead} HS=${c / nHead}`;
  // Two products of T×T/2 by HS a head forward; five backward, the scores being computed again.
  const product = b * t * t * c;
  const tensors = (tensor: (...shape: number[]) => Tensor) => ({
    qkv: tensor(b, t, 3 * c),
    out: tensor(b, t, c),
    lse: tensor(b, nHead, t),
    nHead,
  });
  return [
    {
      name: 'attentionForward',
      shape,
      flops: 2 * product,
      prepare: (engine, tensor) => {
        const options = tensors(tensor);
        return () => engine.attentionForward(options);
      },
    },
    {
      name: 'attentionBackward',
      shape,
      flops: 5 * product,
      prepare: (engine, tensor) => {
        const options = { ...tensors(tensor), dout: tensor(b, t, c), dqkv: tensor(b, t, 3 * c) };
        engine.attentionForward(options);
        return () => engine.attentionBackward(options);
      },
    },
  ];
}

/** The kernels that are bound by memory, or nearly so. */
function rowCases(n: number, c: number, v: number): Case[] {
  const wide = 4 * c;
  return [
    {
      name: 'layerNormForward',
      shape: `${n}×${c}`,
      bytes: 4 * 2 * n * c,
      prepare: (engine, tensor) => {
        const options = { inp: tensor(n, c), out: tensor(n, c), mean: tensor(n), rstd: tensor(n), eps: 1e-5 };
        const parameters = { weight: tensor(c), bias: tensor(c) };
        return () => engine.layerNormForward({ ...options, ...parameters });
      },
    },
    {
      name: 'layerNormBackward',
      shape: `${n}×${c}`,
      bytes: 4 * 3 * n * c,
      prepare: (engine, tensor) => {
        const options = { inp: tensor(n, c), dout: tensor(n, c), dinp: tensor(n, c), mean: tensor(n), rstd: tensor(n) };
        const parameters = { weight: tensor(c), dweight: tensor(c), dbias: tensor(c) };
        return () => engine.layerNormBackward({ ...options, ...parameters });
      },
    },
    {
      name: 'activationForward gelu',
      shape: `${n}×${wide}`,
      bytes: 4 * 2 * n * wide,
      prepare: (engine, tensor) => {
        const [inp, out] = [tensor(n, wide), tensor(n, wide)];
        return () => engine.activationForward({ kind: 'gelu', inp, out });
      },
    },
    {
      name: 'activationBackward gelu',
      shape: `${n}×${wide}`,
      bytes: 4 * 3 * n * wide,
      prepare: (engine, tensor) => {
        const [inp, dout, dinp] = [tensor(n, wide), tensor(n, wide), tensor(n, wide)];
        return () => engine.activationBackward({ kind: 'gelu', inp, dout, dinp });
      },
    },
    {
      name: 'dropout',
      shape: `${n}×${c}`,
      bytes: 4 * 2 * n * c,
      prepare: (engine, tensor) => {
        const [inp, out] = [tensor(1, n, c), tensor(1, n, c)];
        const dropout = { rate: 0.2, keys: [randomKey(1)] };
        return () => engine.dropout({ inp, out, dropout });
      },
    },
    {
      name: 'crossEntropy',
      shape: `${n}×${v}`,
      bytes: 4 * 2 * n * v,
      prepare: (engine, tensor) => {
        const [logits, dlogits, losses] = [tensor(n, v), tensor(n, v), tensor(n)];
        const targets = engine.alloc([n], 'int32');
        engine.zero(targets);
        return () => engine.crossEntropy({ logits, dlogits, losses, targets });
      },
    },
    {
      name: 'adamw',
      shape: `${12 * c * c}`,
      bytes: 4 * 7 * 12 * c * c,
      prepare: (engine) => {
        const size = 12 * c * c;
        const group = () => engine.allocGroup([[size]]);
        const groups = { params: group(), grads: group(), m: group(), v: group() };
        const rates = { learningRate: 1e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: [0.1] };
        return () => engine.adamw({ ...groups, ...rates, step: 1, gradScale: 1 });
      },
    },
  ];
}

/** What the tape adds to the kernels: the routing of gradients, their order, and the release of buffers. */
import { describe, expect, it } from 'vitest';
import type { Gpt2Config } from '../../../src/architecture/gpt2.ts';
import { rotaryTable } from '../../../src/architecture/rotaryTable.ts';
import type { Sums } from '../../../src/base/sums.ts';
import { observeKernels } from '../../../src/engine/observeKernels.ts';
import type { ActivationRecompute } from '../../../src/model/computing.ts';
import type { LossGradient } from '../../../src/model/operations/losses.ts';
import type { Parameter } from '../../../src/model/parameter.ts';
import { type CheckpointBody, Tape } from '../../../src/model/tape.ts';
import { Trainer } from '../../../src/model/training.ts';
import { type Rotation, Variable } from '../../../src/model/variable.ts';
import { Float64Engine, numbers } from '../../parity/model/float64Engine.ts';
import { dropoutSource, randomBatch, tinyConfig } from '../../parity/model/tinyModels.ts';

const [T, C, V] = [3, 4, 5];
const rate = 0.4;
const dropout = { rate, seed: 1, step: 2, firstSample: 0, site: 0 };

/** Parameters of a small graph, with fixed irregular values. */
function parametersOf(engine: Float64Engine, shapes: Record<string, readonly number[]>): Record<string, Parameter> {
  const names = Object.keys(shapes);
  const [values, grads] = [engine.allocGroup(Object.values(shapes)), engine.allocGroup(Object.values(shapes))];
  return Object.fromEntries(
    names.map((name, index) => {
      const value = values.tensors[index]!;
      const data = numbers(value);
      for (let i = 0; i < data.length; i++) data[i] = Math.sin(1 + 7 * index + 1.7 * i);
      return [name, { index, name, value, grad: grads.tensors[index]! }];
    }),
  );
}

interface Graph {
  readonly shapes: Record<string, readonly number[]>;
  /** From the embeddings [B, T, C] of random tokens to logits [..., V]; C is `width`. */
  readonly hidden: (tape: Tape, x: Variable, p: Record<string, Parameter>) => Variable;
  readonly width?: number;
}

/** That the gradients are those of the loss, by central differences in float64. */
function expectDerivatives(parameters: readonly Parameter[], loss: () => number): void {
  const step = 1e-5;
  for (const { name, value, grad } of parameters) {
    const data = numbers(value);
    data.forEach((original, i) => {
      const lossAt = (x: number): number => {
        data[i] = x;
        return loss();
      };
      const difference = (lossAt(original + step) - lossAt(original - step)) / (2 * step);
      data[i] = original;
      const error = Math.abs(difference - numbers(grad!)[i]!) / Math.max(1, Math.abs(difference));
      expect(error, `${name}[${i}]: ${numbers(grad!)[i]} against ${difference}`).toBeLessThan(1e-8);
    });
    expect(Math.max(...numbers(grad!).map(Math.abs)), `${name} has a gradient`).toBeGreaterThan(1e-3);
  }
}

/** Two heads of 4 and as many numbers again: rows of 3C. */
function rotation(tape: Tape): Rotation {
  return { table: tape.upload(rotaryTable(T, 4, 3), [T, 2, 2]), heads: 2 };
}

/** Each operation once, and the ways in which gradients can meet. */
const graphs: Record<string, Graph> = {
  'embedding, token and position': { shapes: {}, hidden: (_, x) => x, width: V },
  linear: { shapes: { w: [C, V], b: [V] }, hidden: (tape, x, p) => tape.linear(x, { weight: p['w']!, bias: p['b'] }) },
  'linear without bias, transposed': {
    shapes: { w: [V, C] },
    hidden: (tape, x, p) => tape.linear(x, { weight: p['w']!, weightTransposed: true }),
  },
  'layer norm': {
    shapes: { w: [V], b: [V] },
    hidden: (tape, x, p) => tape.layerNorm(x, { weight: p['w']!, bias: p['b'] }, 1e-5),
    width: V,
  },
  'layer norm without bias': {
    shapes: { w: [V] },
    hidden: (tape, x, p) => tape.layerNorm(x, { weight: p['w']! }, 1e-5, [2 * T, V]),
    width: V,
  },
  'rms norm': { shapes: { w: [V] }, hidden: (tape, x, p) => tape.rmsNorm(x, p['w']!, 1e-5), width: V },
  'rotary positions, in place': {
    shapes: { w: [C, 3 * C], v: [3 * C, V] },
    hidden: (tape, x, p) => {
      const rotated = tape.rope(tape.linear(x, { weight: p['w']! }), rotation(tape));
      return tape.linear(rotated, { weight: p['v']! });
    },
  },
  'rotary positions of what another layer has used, and of documents': {
    shapes: { u: [3 * C, V], v: [3 * C, V] },
    hidden: (tape, x, p) => {
      const starts = tape.upload(Int32Array.of(0, 1, 1, 0, 0, 2), [2, T]);
      const y = tape.linear(x, { weight: p['u']! });
      return tape.linear(tape.rope(x, { ...rotation(tape), starts }), { weight: p['v']!, residual: y });
    },
    width: 3 * C,
  },
  'a gated activation': { shapes: {}, hidden: (tape, x) => tape.gated(x, 'silu'), width: 2 * V },
  'a gated activation of what another layer uses before and after it': {
    shapes: { u: [V, V], v: [2 * V, V], w: [2 * V, V] },
    hidden: (tape, x, p) => {
      const before = tape.linear(x, { weight: p['v']! });
      const product = tape.gated(x, 'gelu');
      return tape.linear(x, { weight: p['w']!, residual: tape.linear(product, { weight: p['u']!, residual: before }) });
    },
    width: 2 * V,
  },
  attention: {
    shapes: { w: [C, V] },
    hidden: (tape, x, p) => tape.linear(tape.attention(x, { nHead: 2 }), { weight: p['w']! }),
    width: 3 * C,
  },
  'attention with grouped queries': {
    shapes: { w: [C, V] },
    hidden: (tape, x, p) => tape.linear(tape.attention(x, { nHead: 2, nKvHead: 1 }), { weight: p['w']! }),
    width: 2 * C,
  },
  'attention with dropout': {
    shapes: { w: [C, V] },
    hidden: (tape, x, p) => tape.linear(tape.attention(x, { nHead: 2 }, dropout), { weight: p['w']! }),
    width: 3 * C,
  },
  'attention in both directions': {
    shapes: { w: [C, V] },
    hidden: (tape, x, p) => {
      const ends = tape.upload(Int32Array.of(3, 3, 3, 2, 2, 3), [2, T]);
      return tape.linear(tape.attention(x, { nHead: 2 }, undefined, { ends }), { weight: p['w']! });
    },
    width: 3 * C,
  },
  'attention to another sequence, with dropout': {
    shapes: { u: [V, C], v: [V, C], w: [C, V] },
    hidden: (tape, x, p) => {
      const [q, kv] = [tape.linear(x, { weight: p['u']! }), tape.linear(x, { weight: p['v']! })];
      const ranges = {
        starts: tape.upload(Int32Array.of(0, 1, 2, 0, 0, 1), [2, T]),
        ends: tape.upload(Int32Array.of(3, 2, 3, 1, 3, 2), [2, T]),
      };
      return tape.linear(tape.crossAttention(q, kv, { nHead: 2, nKvHead: 1 }, ranges, dropout), { weight: p['w']! });
    },
    width: V,
  },
  'attention to what has no gradient': {
    shapes: { u: [V, C], w: [C, V] },
    hidden: (tape, x, p) => {
      const fixed = Float32Array.from({ length: 2 * 4 * 2 * C }, (_, i) => Math.sin(i));
      const kv = new Variable([2, 4, 2 * C], 'float32', tape.upload(fixed, [2, 4, 2 * C]));
      const ends = tape.upload(Int32Array.of(4, 1, 2, 4, 4, 3), [2, T]);
      const y = tape.crossAttention(tape.linear(x, { weight: p['u']! }), kv, { nHead: 2 }, { ends });
      return tape.linear(y, { weight: p['w']! });
    },
    width: V,
  },
  dropout: { shapes: {}, hidden: (tape, x) => tape.dropout(x, dropout), width: V },
  'dropout of what is used before it and after it': {
    shapes: { v: [V, V], w: [V, V] },
    hidden: (tape, x, p) => {
      const before = tape.linear(x, { weight: p['v']! });
      const once = tape.dropout(x, dropout);
      const again = tape.dropout(x, { ...dropout, site: 1 });
      const sum = tape.linear(once, { weight: p['w']!, residual: again });
      return tape.linear(before, { weight: p['v']!, residual: tape.linear(sum, { weight: p['w']!, residual: x }) });
    },
    width: V,
  },
  'dropout of an activation that another layer takes, and of its own result': {
    shapes: { v: [C, V], w: [V, V] },
    hidden: (tape, x, p) => {
      const active = tape.linear(x, { weight: p['v']!, activation: 'gelu' });
      const dropped = tape.dropout(tape.dropout(active, dropout), { ...dropout, site: 1 });
      return tape.linear(active, { weight: p['w']!, residual: dropped });
    },
  },
  'a residual around a layer': {
    shapes: { w: [V, V] },
    hidden: (tape, x, p) => tape.linear(x, { weight: p['w']!, residual: x }),
    width: V,
  },
  'a residual around a layer, with dropout and bias': {
    shapes: { w: [V, V], b: [V] },
    hidden: (tape, x, p) => tape.linear(x, { weight: p['w']!, bias: p['b'], residual: x, dropout }),
    width: V,
  },
  'an activation, its result used once': {
    shapes: { v: [C, 7], b: [7], w: [7, V] },
    hidden: (tape, x, p) => {
      const active = tape.linear(x, { weight: p['v']!, bias: p['b'], activation: 'gelu' });
      return tape.linear(active, { weight: p['w']! });
    },
  },
  'an activation, its result used twice': {
    shapes: { v: [C, V], w: [V, V] },
    hidden: (tape, x, p) => {
      const active = tape.linear(x, { weight: p['v']!, activation: 'relu' });
      return tape.linear(active, { weight: p['w']!, residual: active });
    },
  },
  'an activation before the head': {
    shapes: { w: [C, V] },
    hidden: (tape, x, p) => tape.linear(x, { weight: p['w']!, activation: 'gelu' }),
  },
  'an activation before another': {
    shapes: { v: [C, C], w: [C, V] },
    hidden: (tape, x, p) => {
      const active = tape.linear(x, { weight: p['v']!, activation: 'gelu' });
      return tape.linear(active, { weight: p['w']!, activation: 'relu' });
    },
  },
  'an activation before a layer with a residual': {
    shapes: { u: [C, V], v: [C, C], w: [C, V] },
    hidden: (tape, x, p) => {
      const y = tape.linear(x, { weight: p['u']! });
      const active = tape.linear(x, { weight: p['v']!, activation: 'gelu' });
      return tape.linear(active, { weight: p['w']!, residual: y, dropout });
    },
  },
  'a residual whose stream is used by a later operation than its branch': {
    shapes: { u: [V, V], v: [V, V], w: [V, V] },
    hidden: (tape, x, p) => {
      const branch = tape.linear(x, { weight: p['v']!, activation: 'gelu' });
      const inner = tape.linear(branch, { weight: p['w']!, residual: x });
      return tape.linear(inner, { weight: p['u']!, residual: branch });
    },
    width: V,
  },
  'the same input twice': {
    shapes: { v: [V, V], w: [V, V] },
    hidden: (tape, x, p) => tape.linear(x, { weight: p['w']!, residual: tape.linear(x, { weight: p['v']! }) }),
    width: V,
  },
  'dropout keeps a value that is saved': {
    shapes: { w: [V, V] },
    hidden: (tape, x, p) => {
      const y = tape.linear(x, { weight: p['w']! }); // its backward needs the value of x
      return tape.linear(tape.dropout(x, dropout), { weight: p['w']!, residual: y });
    },
    width: V,
  },
  'dropout between residuals': {
    shapes: { v: [V, V], w: [V, V] },
    hidden: (tape, x, p) => {
      const y = tape.linear(x, { weight: p['v']!, residual: x, dropout });
      return tape.linear(y, { weight: p['w']!, residual: y, dropout });
    },
    width: V,
  },
  'one weight in two places': {
    shapes: { w: [V, V] },
    hidden: (tape, x, p) => tape.linear(tape.linear(x, { weight: p['w']! }), { weight: p['w']! }),
    width: V,
  },
  'a checkpoint, whose input and parameters have other uses before and after': {
    shapes: { v: [V, V], w: [V, V] },
    hidden: (tape, x, p) => {
      const before = tape.linear(x, { weight: p['w']! });
      const y = tape.checkpoint(before, (on, inp) => {
        const active = on.linear(on.dropout(inp, dropout), { weight: p['v']!, activation: 'gelu' });
        return on.linear(active, { weight: p['w']!, residual: inp, dropout });
      });
      return tape.linear(y, { weight: p['v']!, residual: before });
    },
    width: V,
  },
  'checkpoints in a row, and one in another': {
    shapes: { v: [V, V], w: [V, V], b: [V] },
    hidden: (tape, x, p) => {
      const body: CheckpointBody = (on, inp) => {
        const norm = on.layerNorm(inp, { weight: p['b']! }, 1e-5);
        const active = on.linear(norm, { weight: p['v']!, activation: 'gelu' });
        return on.linear(active, { weight: p['w']!, residual: inp });
      };
      const y = tape.checkpoint(tape.checkpoint(x, body), body);
      return tape.checkpoint(y, (on, inp) => on.linear(on.checkpoint(inp, body), { weight: p['v']!, residual: inp }));
    },
    width: V,
  },
  'checkpoints of an rms norm, a layer with rotary positions and a gate': {
    shapes: { u: [V], v: [V, 3 * C], w: [3 * C, 2 * V] },
    hidden: (tape, x, p) =>
      tape.checkpoint(x, (on, inp) => {
        const wide = on.linear(on.rmsNorm(inp, p['u']!, 1e-5), { weight: p['v']! });
        return on.gated(on.linear(on.rope(wide, rotation(on)), { weight: p['w']! }), 'silu');
      }),
    width: V,
  },
  'checkpoints of rotary positions alone, and of a gate alone': {
    shapes: { w: [3 * C, 2 * V] },
    hidden: (tape, x, p) => {
      const rotated = tape.checkpoint(x, (on, inp) => on.rope(inp, rotation(on)));
      return tape.checkpoint(tape.linear(rotated, { weight: p['w']! }), (on, inp) => on.gated(inp, 'gelu'));
    },
    width: 3 * C,
  },
  'checkpoints that end in an activation, in a norm and in another checkpoint': {
    shapes: { v: [V, V], w: [V, V], b: [V] },
    hidden: (tape, x, p) => {
      const active: CheckpointBody = (on, inp) => on.linear(inp, { weight: p['v']!, activation: 'gelu' });
      const norm: CheckpointBody = (on, inp) => on.layerNorm(inp, { weight: p['b']! }, 1e-5);
      const both: CheckpointBody = (on, inp) => on.checkpoint(on.linear(inp, { weight: p['w']! }), active);
      return tape.checkpoint(tape.checkpoint(tape.checkpoint(x, active), norm), both);
    },
    width: V,
  },
};

describe('gradients against finite differences', () => {
  it.each(Object.entries(graphs))('%s', (_, { shapes, hidden, width = C }) => {
    const engine = new Float64Engine();
    const p = parametersOf(engine, { wte: [6, width], wpe: [T, width], head: [V, V], ...shapes });
    const tokens = engine.alloc([2, T], 'int32');
    engine.upload(tokens, Int32Array.of(3, 1, 3, 0, 5, 2));
    const targets = engine.alloc([2 * T], 'int32');
    engine.upload(targets, Int32Array.of(0, 3, 1, -1, 2, 2));
    const tape = new Tape(engine);
    const run = (scale?: number): number => {
      const x = tape.embedding(tokens, p['wte']!, p['wpe']!);
      const losses = tape.linearCrossEntropy(hidden(tape, x, p), { weight: p['head']! }, targets, { scale });
      return numbers(losses.value).reduce((a, b) => a + b);
    };
    const idle = engine.memory().bytesInUse;
    const scale = 0.7;
    run(scale);
    tape.backward();
    tape.discard();
    expect(engine.memory().bytesInUse).toBe(idle);

    expectDerivatives(Object.values(p), () => {
      const loss = scale * run();
      tape.discard();
      return loss;
    });
    expect(engine.memory().bytesInUse).toBe(idle);
  });
});

describe('where backward starts', () => {
  const targetsA = Int32Array.of(0, 3, 1, -1, 2, 2);
  const targetsB = Int32Array.of(4, -1, 0, 0, 3, 1);
  const weights = Float32Array.of(0.5, -2, 0, 1, 0.25, 3);

  /** Runs `losses` with gradients and compares them with the differences of the same sum without. */
  function expectGradients(
    shapes: Record<string, readonly number[]>,
    body: (tape: Tape, x: Variable, p: Record<string, Parameter>, backward: boolean) => number,
  ): void {
    const engine = new Float64Engine();
    const p = parametersOf(engine, { wte: [6, V], wpe: [T, V], head: [V, V], ...shapes });
    const tokens = engine.alloc([2, T], 'int32');
    engine.upload(tokens, Int32Array.of(3, 1, 3, 0, 5, 2));
    const tape = new Tape(engine);
    const idle = engine.memory().bytesInUse;
    const run = (backward: boolean): number => {
      const loss = body(tape, tape.embedding(tokens, p['wte']!, p['wpe']!), p, backward);
      tape.discard();
      expect(engine.memory().bytesInUse).toBe(idle);
      return loss;
    };
    run(true);
    expectDerivatives(Object.values(p), () => run(false));
  }

  const weighted = (losses: Variable, by: ArrayLike<number>): number =>
    numbers(losses.value).reduce((sum, loss, n) => sum + loss * by[n]!, 0);
  const ones = [1, 1, 1, 1, 1, 1];

  it.each(['hidden state', 'activation', 'checkpoint'])('at two losses of one %s, which has other uses', (kind) => {
    expectGradients({ v: [V, V], w: [V, V], other: [V, V] }, (tape, x, p, backward) => {
      const inner = (on: Tape, inp: Variable): Variable =>
        on.linear(inp, { weight: p['v']!, ...(kind === 'activation' && { activation: 'gelu' }) });
      const hidden = kind === 'checkpoint' ? tape.checkpoint(x, inner) : inner(tape, x);
      const a = tape.upload(targetsA, [6]);
      const auxiliary = tape.linearCrossEntropy(hidden, { weight: p['other']! }, a, backward ? { scale: 0.3 } : {});
      const later = tape.linear(hidden, { weight: p['w']!, residual: hidden });
      const again = tape.linearCrossEntropy(hidden, { weight: p['head']! }, a, backward ? { scale: 0.2 } : {});
      const b = tape.upload(targetsB, [6]);
      const main = tape.linearCrossEntropy(later, { weight: p['head']! }, b, backward ? { scale: 0.7 } : {});
      const loss = 0.3 * weighted(auxiliary, ones) + 0.2 * weighted(again, ones) + 0.7 * weighted(main, ones);
      if (backward) tape.backward();
      return loss;
    });
  });

  /** From a head, whose logits never exist all at once, or from logits in memory. */
  const kinds = ['a head', 'logits'] as const;
  const lossesOf = (kind: (typeof kinds)[number], tape: Tape, x: Variable, p: Record<string, Parameter>) => {
    const [targets, head] = [tape.upload(targetsA, [6]), { weight: p['head']! }];
    return (gradient: LossGradient) =>
      kind === 'a head'
        ? tape.linearCrossEntropy(x, head, targets, gradient)
        : tape.crossEntropy(tape.linear(x, head), targets, gradient);
  };

  it.each(kinds)('at losses of %s whose rows have weights, which the losses themselves have not', (kind) => {
    expectGradients({}, (tape, x, p, backward) => {
      const rows = tape.upload(weights, [6]);
      const losses = lossesOf(kind, tape, x, p)(backward ? { scale: 0.7, weights: rows } : {});
      const loss = 0.7 * weighted(losses, weights);
      if (backward) tape.backward();
      return loss;
    });
  });

  it.each(kinds)('at losses of %s that are seeded with the gradient of something else', (kind) => {
    expectGradients({}, (tape, x, p, backward) => {
      const losses = lossesOf(kind, tape, x, p)({});
      const loss = weighted(losses, weights);
      if (backward) tape.backward([{ of: losses, grad: tape.upload(weights, [6]) }]);
      expect(weighted(losses, weights)).toBe(loss); // they stay until `discard`
      return loss;
    });
  });

  it.each(kinds)('at losses of %s and at what is left of them after dropout', (kind) => {
    expectGradients({}, (tape, x, p, backward) => {
      const losses = lossesOf(kind, tape, x, p)({});
      const left = tape.dropout(losses, dropout);
      const loss = weighted(losses, weights) + weighted(left, ones);
      const seeds = () => [
        { of: losses, grad: tape.upload(weights, [6]) },
        { of: left, grad: tape.upload(Float32Array.from(ones), [6]) },
      ];
      if (backward) tape.backward(seeds());
      return loss;
    });
  });

  it('not at the weights of rows without a scale', () => {
    const engine = new Float64Engine();
    const p = parametersOf(engine, { wte: [6, V], head: [V, V] });
    const tape = new Tape(engine);
    const x = tape.embedding(tape.upload(Int32Array.of(2), [1, 1]), p['wte']!);
    const [targets, rows] = [tape.upload(Int32Array.of(1), [1]), tape.upload(Float32Array.of(2), [1])];
    expect(() => tape.linearCrossEntropy(x, { weight: p['head']! }, targets, { weights: rows })).toThrow('a scale');
    expect(() => tape.crossEntropy(x, targets, { weights: rows })).toThrow('a scale');
    tape.discard();
  });

  it('at variables within and at the end of a graph, one of them twice', () => {
    expectGradients({ v: [V, V], w: [V, V] }, (tape, x, p, backward) => {
      const active = tape.linear(x, { weight: p['v']!, activation: 'gelu' });
      const scores = tape.linear(active, { weight: p['w']! });
      const hidden = tape.linear(scores, { weight: p['head']! });
      const coefficients = Float32Array.from({ length: 30 }, (_, i) => Math.fround(Math.cos(i)));
      const dot = (of: Variable): number =>
        numbers(of.value).reduce((sum, value, i) => sum + value * coefficients[i]!, 0);
      const loss = dot(hidden) + 2 * dot(active) + dot(scores);
      if (!backward) return loss;
      const grad = tape.upload(coefficients, [2, T, V]);
      const seeds = [hidden, active, scores, active].map((of) => ({ of, grad }));
      tape.backward(seeds);
      expect(Array.from(numbers(grad))).toEqual(Array.from(coefficients)); // stays the caller's
      return loss;
    });
  });

  it('nowhere else', () => {
    const engine = new Float64Engine();
    const p = parametersOf(engine, { wte: [6, V], head: [V, V] });
    const frozen = Object.fromEntries(Object.entries(p).map(([name, each]) => [name, { ...each, grad: undefined }]));
    const tape = new Tape(engine);
    const x = tape.embedding(tape.upload(Int32Array.of(2), [1, 1]), p['wte']!);
    const still = tape.embedding(tape.upload(Int32Array.of(2), [1, 1]), frozen['wte']!);
    const grad = tape.upload(new Float32Array(V), [1, 1, V]);
    expect(() => tape.backward([{ of: still, grad }])).toThrow('does not depend on a trained');
    expect(() => tape.backward([{ of: x, grad: tape.upload(new Float32Array(V), [V]) }])).toThrow(
      'received float32 [5]',
    );
    const targets = tape.upload(Int32Array.of(1), [1]);
    expect(() => tape.linearCrossEntropy(still, { weight: frozen['head']! }, targets, { scale: 1 })).toThrow(
      'does not depend on a trained',
    );
    expect(() => tape.crossEntropy(still, targets, { scale: 1 })).toThrow('does not depend on a trained');
    const losses = tape.linearCrossEntropy(x, { weight: p['head']! }, targets, { scale: 1 });
    expect(() => tape.backward([{ of: losses, grad: tape.upload(Float32Array.of(1), [1]) }])).toThrow('can start only');
    tape.backward();
    expect(() => tape.backward([{ of: x, grad }])).toThrow('can start only');
    tape.discard();
  });
});

describe('parameters without a gradient', () => {
  /** The gradients of `trained`, the others being frozen, and the kernels that ran backward. */
  function gradientsOf({ shapes, hidden, width = C }: Graph, isTrained: (name: string) => boolean) {
    const plain = new Float64Engine();
    const kernels: string[] = [];
    const engine = observeKernels(plain, () => (kernel) => kernels.push(kernel)) as Float64Engine;
    const all = parametersOf(plain, { wte: [6, width], wpe: [T, width], head: [V, V], ...shapes });
    const before = Object.values(all).map(({ value }) => numbers(value).slice());
    const p: Record<string, Parameter> = Object.fromEntries(
      Object.entries(all).map(([name, each]) => [name, isTrained(name) ? each : { ...each, grad: undefined }]),
    );
    const tape = new Tape(engine);
    const x = tape.embedding(tape.upload(Int32Array.of(3, 1, 3, 0, 5, 2), [2, T]), p['wte']!, p['wpe']!);
    const targets = tape.upload(Int32Array.of(0, 3, 1, -1, 2, 2), [6]);
    tape.linearCrossEntropy(hidden(tape, x, p), { weight: p['head']! }, targets, { scale: 0.7 });
    kernels.length = 0;
    const ready: number[] = [];
    tape.backward([], (index) => ready.push(index));
    tape.discard();
    expect(Object.values(all).map(({ value }) => numbers(value))).toEqual(before);
    const trained = Object.keys(all).filter(isTrained);
    expect(ready.toSorted()).toEqual(trained.map((name) => all[name]!.index).toSorted());
    const frozen = Object.keys(all).filter((name) => !isTrained(name));
    for (const name of frozen)
      expect(
        numbers(all[name]!.grad!).every((value) => value === 0),
        name,
      ).toBe(true);
    return { grads: Object.fromEntries(trained.map((name) => [name, [...numbers(all[name]!.grad!)]])), kernels };
  }

  it.each(Object.entries(graphs))('change no other gradient: %s', (_, graph) => {
    const { grads } = gradientsOf(graph, () => true);
    for (const name of Object.keys(grads)) {
      expect(gradientsOf(graph, (other) => other === name).grads[name], `${name} alone`).toEqual(grads[name]);
      const others = gradientsOf(graph, (other) => other !== name).grads;
      expect(others, `all but ${name}`).toEqual({
        ...others,
        ...Object.fromEntries(Object.entries(grads).filter(([other]) => other !== name)),
      });
    }
  });

  it('cost no kernel below the lowest that is trained', () => {
    const graph: Graph = {
      shapes: { a: [V, V], n: [V], w: [V, V], b: [V] },
      hidden: (tape, x, p) => {
        const lower = tape.linear(x, { weight: p['a']!, activation: 'gelu' });
        const norm = tape.layerNorm(lower, { weight: p['n']! }, 1e-5);
        return tape.linear(norm, { weight: p['w']!, bias: p['b'], residual: lower });
      },
      width: V,
    };
    const kernelsOf = (...names: string[]): string[] => gradientsOf(graph, (name) => names.includes(name)).kernels;
    expect(kernelsOf('head')).toEqual([]);
    expect(kernelsOf('b')).toEqual(['linearBackward']);
    expect(kernelsOf('w', 'head')).toEqual(['linearBackward']);
    expect(kernelsOf('n')).toEqual(['linearBackward', 'layerNormBackward']);
    const through = ['linearBackward', 'layerNormBackward', 'activationBackward', 'linearBackward'];
    expect(kernelsOf('a')).toEqual(through);
    expect(kernelsOf('wpe')).toEqual([...through, 'embeddingBackward']);
  });
});

describe('onGradReady', () => {
  async function orderOf(
    config: Gpt2Config,
    activationRecompute: ActivationRecompute,
  ): Promise<{ order: number[]; trainer: Trainer }> {
    const trainer = new Trainer(new Float64Engine(), config, { seed: 1, activationRecompute });
    const order: number[] = [];
    const snapshots = new Map<number, Float64Array>();
    await trainer.microStep({
      ...randomBatch(config, { seed: 1, batchSize: 1 }),
      lossScale: 1,
      dropout: dropoutSource(),
      onGradReady: (index) => {
        order.push(index);
        snapshots.set(index, numbers(trainer.parameters.grads.tensors[index]!).slice());
      },
    });
    for (const [index, snapshot] of snapshots) {
      expect(numbers(trainer.parameters.grads.tensors[index]!)).toEqual(snapshot); // nothing was added afterwards
    }
    return { order, trainer };
  }

  it.each([
    ['tied', tinyConfig, 'none'],
    ['untied', { ...tinyConfig, tiedHead: false, bias: false }, 'none'],
    ['with dropout', { ...tinyConfig, dropout: 0.1, nLayer: 3 }, 'none'],
    ['with blocks computed again', { ...tinyConfig, dropout: 0.1, nLayer: 3 }, 'block'],
  ] as const)('comes once for each parameter, in the order of the specs: %s', async (_, config, recompute) => {
    const { order, trainer } = await orderOf(config, recompute);
    expect(order).toEqual([...trainer.parameters.specs.keys()]);
  });
});

describe('blocks that are computed again', () => {
  async function step(engine: Float64Engine, activationRecompute: ActivationRecompute) {
    const config: Gpt2Config = { ...tinyConfig, nLayer: 6, dropout: 0.2 };
    const trainer = new Trainer(engine, config, { seed: 1, activationRecompute });
    const idle = engine.memory().bytesInUse;
    const batch = randomBatch(config, { seed: 1, batchSize: 3 });
    const { loss } = await trainer.microStep({ ...batch, lossScale: 1, dropout: dropoutSource() });
    expect(engine.memory().bytesInUse).toBe(idle);
    const grads = trainer.parameters.grads.tensors.map((grad) => numbers(grad));
    return { loss, grads, bytes: engine.memory().bytesPeak - idle, trainer, batch };
  }

  it('have the same loss and gradients to the bit, in less memory', async () => {
    const kept = await step(new Float64Engine(), 'none');
    const again = await step(new Float64Engine(), 'block');
    expect(again.loss).toBe(kept.loss);
    expect(again.grads).toEqual(kept.grads);
    expect(again.bytes).toBeLessThan(0.4 * kept.bytes);
  });

  it('are not kept where no backward follows', async () => {
    const engine = new Float64Engine();
    const { bytes, trainer, batch } = await step(engine, 'block');
    await trainer.evaluate(batch);
    expect(engine.memory().bytesPeak - engine.memory().bytesInUse).toBe(bytes);
  });
});

it('a variable cannot be used after it was rotated in its place', () => {
  const engine = new Float64Engine();
  const p = parametersOf(engine, { wte: [6, 3 * C] });
  const tape = new Tape(engine);
  const x = tape.embedding(tape.upload(Int32Array.of(2, 1, 0), [1, T]), p['wte']!);
  tape.rope(x, rotation(tape));
  expect(() => tape.dropout(x, dropout)).toThrow('`rope` has overwritten it');
  tape.discard();
});

it('a variable cannot be used after its tape went backward', () => {
  const engine = new Float64Engine();
  const p = parametersOf(engine, { wte: [6, V] });
  const tape = new Tape(engine);
  const x = tape.embedding(tape.upload(Int32Array.of(2), [1, 1]), p['wte']!);
  tape.backward([{ of: x, grad: tape.upload(new Float32Array(V), [1, 1, V]) }]);
  expect(() => tape.linear(x, { weight: p['wte']!, weightTransposed: true })).toThrow('has run backward');
  tape.discard();
});

describe('a pass that fails leaves no buffer behind', () => {
  const config: Gpt2Config = { ...tinyConfig, dropout: 0.1 };

  /** The engine, whose `failAt`-th call from now throws, whichever it is; memory can always be given back and counted. */
  function failing(engine: Float64Engine): { engine: Float64Engine; failAt: (call: number) => void } {
    let left = Number.POSITIVE_INFINITY;
    const get = (target: Float64Engine, name: keyof Float64Engine): unknown => {
      const value = target[name];
      if (typeof value !== 'function') return value;
      if (name === 'release' || name === 'memory') return value.bind(target);
      return (...args: never[]) => {
        if (--left === 0) throw new Error(`no ${name}`);
        return Reflect.apply(value, target, args);
      };
    };
    return { engine: new Proxy(engine, { get } as ProxyHandler<Float64Engine>), failAt: (call) => (left = call) };
  }

  it.each([
    ['microStep', 'none'],
    ['microStep', 'block'],
    ['evaluate', 'none'],
  ] as const)('at any call of the engine: %s, activationRecompute %s', async (pass, activationRecompute) => {
    const { engine, failAt } = failing(new Float64Engine());
    const trainer = new Trainer(engine, config, { seed: 1, activationRecompute });
    const batch = randomBatch(config, { seed: 1, batchSize: 2 });
    const run = async (): Promise<Sums> =>
      pass === 'evaluate'
        ? await trainer.evaluate(batch)
        : await trainer.microStep({ ...batch, lossScale: 1, dropout: dropoutSource() });
    const idle = engine.memory().bytesInUse;
    for (let call = 1; ; call++) {
      failAt(call);
      const error = await run().then(
        () => undefined,
        (reason: unknown) => reason as Error,
      );
      expect(engine.memory().bytesInUse, `after call ${call}: ${error?.message}`).toBe(idle);
      if (error === undefined) {
        expect(call).toBeGreaterThan(50);
        return;
      }
      expect(error.message).toMatch(/^no /);
    }
  });

  it('where it is refused', async () => {
    const engine = new Float64Engine();
    const trainer = new Trainer(engine, tinyConfig, { seed: 1 });
    const idle = engine.memory().bytesInUse;
    const batch = randomBatch({ ...tinyConfig, blockSize: 9 }, { seed: 1, batchSize: 1 });
    await expect(trainer.microStep({ ...batch, lossScale: 1 })).rejects.toThrow('longer than blockSize 8');
    expect(engine.memory().bytesInUse).toBe(idle);
  });
});

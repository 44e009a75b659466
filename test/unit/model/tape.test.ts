/** What the tape adds to the kernels: the routing of gradients, their order, and the release of buffers. */
import { describe, expect, it } from 'vitest';
import { randomKey } from '../../../src/base/counterRandom.ts';
import type { ModelConfig } from '../../../src/model/config.ts';
import type { Parameter } from '../../../src/model/parameterStore.ts';
import { Tape, type Variable } from '../../../src/model/tape.ts';
import { Trainer } from '../../../src/model/training.ts';
import { Float64Engine, numbers } from '../../parity/model/float64Engine.ts';
import { dropoutSource, randomBatch, tinyConfig } from '../../parity/model/tinyModels.ts';

const [T, C, V] = [3, 4, 5];
const rate = 0.4;
const dropout = { rate, keys: [randomKey(1), randomKey(2)] };

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
  readonly logits: (tape: Tape, x: Variable, p: Record<string, Parameter>) => Variable;
  readonly width?: number;
}

/** Each operation once, and the ways in which gradients can meet. */
const graphs: Record<string, Graph> = {
  'embedding, token and position': { shapes: {}, logits: (_, x) => x, width: V },
  linear: { shapes: { w: [C, V], b: [V] }, logits: (tape, x, p) => tape.linear(x, p['w']!, p['b']) },
  'linear without bias, transposed': {
    shapes: { w: [V, C] },
    logits: (tape, x, p) => tape.linear(x, p['w']!, undefined, { weightTransposed: true }),
  },
  'layer norm': {
    shapes: { w: [V], b: [V] },
    logits: (tape, x, p) => tape.layerNorm(x, p['w']!, p['b'], 1e-5),
    width: V,
  },
  'layer norm without bias': {
    shapes: { w: [V] },
    logits: (tape, x, p) => tape.layerNorm(x, p['w']!, undefined, 1e-5, [2 * T, V]),
    width: V,
  },
  gelu: { shapes: {}, logits: (tape, x) => tape.activation('gelu', x), width: V },
  relu: { shapes: {}, logits: (tape, x) => tape.activation('relu', x), width: V },
  attention: {
    shapes: { w: [C, V] },
    logits: (tape, x, p) => tape.linear(tape.attention(x, 2), p['w']!),
    width: 3 * C,
  },
  'attention with dropout': {
    shapes: { w: [C, V] },
    logits: (tape, x, p) => tape.linear(tape.attention(x, 2, dropout), p['w']!),
    width: 3 * C,
  },
  dropout: { shapes: {}, logits: (tape, x) => tape.dropout(x, dropout), width: V },
  'a residual around a layer': {
    shapes: { w: [V, V] },
    logits: (tape, x, p) => tape.residual(x, tape.linear(x, p['w']!)),
    width: V,
  },
  'a residual whose stream is used by a later operation than its branch': {
    shapes: { v: [V, V], w: [V, V] },
    logits: (tape, x, p) => {
      const branch = tape.linear(x, p['v']!);
      const inner = tape.linear(tape.activation('gelu', branch), p['w']!);
      return tape.residual(tape.residual(x, inner), branch);
    },
    width: V,
  },
  'a gradient is added to one of those that share it': {
    shapes: { u: [V, V], v: [V, V], w: [V, V] },
    logits: (tape, x, p) => {
      const [a, b] = [tape.linear(x, p['v']!), tape.linear(x, p['w']!)];
      const inner = tape.linear(a, p['u']!);
      return tape.residual(tape.residual(a, b), inner);
    },
    width: V,
  },
  'the same input twice': {
    shapes: { v: [V, V], w: [V, V] },
    logits: (tape, x, p) => tape.residual(tape.linear(x, p['v']!), tape.linear(x, p['w']!)),
    width: V,
  },
  'a saved branch is not overwritten': {
    shapes: { w: [V, V] },
    logits: (tape, x, p) => {
      const branch = tape.linear(x, p['w']!);
      const active = tape.activation('gelu', branch); // its backward needs the branch's value
      return tape.residual(active, branch);
    },
    width: V,
  },
  'dropout between residuals': {
    shapes: { v: [V, V], w: [V, V] },
    logits: (tape, x, p) => {
      const y = tape.residual(x, tape.dropout(tape.linear(x, p['v']!), dropout));
      return tape.residual(y, tape.dropout(tape.linear(y, p['w']!), dropout));
    },
    width: V,
  },
  'one weight in two places': {
    shapes: { w: [V, V] },
    logits: (tape, x, p) => tape.linear(tape.linear(x, p['w']!), p['w']!),
    width: V,
  },
};

describe('gradients against finite differences', () => {
  it.each(Object.entries(graphs))('%s', (_, { shapes, logits, width = C }) => {
    const engine = new Float64Engine();
    const p = parametersOf(engine, { wte: [6, width], wpe: [T, width], ...shapes });
    const tokens = engine.alloc([2, T], 'int32');
    engine.upload(tokens, Int32Array.of(3, 1, 3, 0, 5, 2));
    const targets = engine.alloc([2 * T], 'int32');
    engine.upload(targets, Int32Array.of(0, 3, 1, -1, 2, 2));
    const tape = new Tape(engine);
    const run = (scale?: number): number => {
      const x = tape.embedding(tokens, p['wte']!, p['wpe']!);
      const losses = tape.crossEntropy(logits(tape, x, p), targets, scale);
      const sum = numbers(losses).reduce((a, b) => a + b);
      engine.release(losses);
      return sum;
    };
    const idle = engine.memory().bytesInUse;
    const scale = 0.7;
    run(scale);
    tape.backward();
    expect(engine.memory().bytesInUse).toBe(idle);

    const step = 1e-5;
    for (const { name, value, grad } of Object.values(p)) {
      const data = numbers(value);
      data.forEach((original, i) => {
        const lossAt = (x: number): number => {
          data[i] = x;
          const loss = run();
          tape.discard();
          return loss;
        };
        const difference = (scale * (lossAt(original + step) - lossAt(original - step))) / (2 * step);
        data[i] = original;
        const error = Math.abs(difference - numbers(grad!)[i]!);
        expect(error, `${name}[${i}]: ${numbers(grad!)[i]} against ${difference}`).toBeLessThan(1e-8);
      });
      expect(Math.max(...numbers(grad!).map(Math.abs)), `${name} has a gradient`).toBeGreaterThan(1e-3);
    }
    expect(engine.memory().bytesInUse).toBe(idle);
  });
});

describe('onGradReady', () => {
  async function orderOf(config: ModelConfig): Promise<{ order: number[]; trainer: Trainer }> {
    const trainer = new Trainer(new Float64Engine(), config, { seed: 1 });
    const order: number[] = [];
    const snapshots = new Map<number, Float64Array>();
    await trainer.microStep({
      ...randomBatch(config, { seed: 1, batchSize: 1 }),
      lossScale: 1,
      dropout: dropoutSource(1),
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
    ['tied', tinyConfig],
    ['untied', { ...tinyConfig, tiedHead: false, bias: false }],
    ['with dropout', { ...tinyConfig, dropout: 0.1, nLayer: 3 }],
  ] as const)('comes once for each parameter, in the order of the specs: %s', async (_, config) => {
    const { order, trainer } = await orderOf(config);
    expect(order).toEqual([...trainer.parameters.specs.keys()]);
  });
});

describe('misuse', () => {
  it('a variable whose buffer was taken over cannot be used again', () => {
    const engine = new Float64Engine();
    const p = parametersOf(engine, { wte: [6, V] });
    const tokens = engine.alloc([1, 1], 'int32');
    engine.upload(tokens, Int32Array.of(2));
    const tape = new Tape(engine);
    const x = tape.embedding(tokens, p['wte']!);
    tape.dropout(x, { rate, keys: [randomKey(1)] });
    expect(() => tape.activation('gelu', x)).toThrow('took over its buffer');
  });

  it('a failed step leaves no buffer behind', async () => {
    const engine = new Float64Engine();
    const trainer = new Trainer(engine, tinyConfig, { seed: 1 });
    const idle = engine.memory().bytesInUse;
    const batch = randomBatch({ ...tinyConfig, blockSize: 9 }, { seed: 1, batchSize: 1 });
    await expect(trainer.microStep({ ...batch, lossScale: 1 })).rejects.toThrow('longer than blockSize 8');
    expect(engine.memory().bytesInUse).toBe(idle);
  });
});

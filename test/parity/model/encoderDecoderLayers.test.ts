/**
 * An encoder layer and a decoder layer of the original Transformer, made of the tape's operations, against PyTorch's: attention in both
 * directions over padded sources, causal attention, and attention to the source. The fixture is from makeLayerFixtures.py.
 */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Engine } from '../../../src/engine/engine.ts';
import { createNativeEngine } from '../../../src/engine/native/nativeEngine.ts';
import { createTfjsEngine } from '../../../src/engine/tfjs/tfjsEngine.ts';
import type { Parameter } from '../../../src/model/parameter.ts';
import { Tape } from '../../../src/model/tape.ts';
import type { Variable } from '../../../src/model/variable.ts';
import { errorByRow } from '../kernels/harness.ts';
import { Float64Engine } from './float64Engine.ts';

interface Range {
  readonly offset: number;
  readonly length: number;
}

interface LayerFile {
  readonly sizes: {
    readonly B: number;
    readonly S: number;
    readonly T: number;
    readonly C: number;
    readonly heads: number;
  };
  readonly lengths: readonly number[];
  readonly values: Record<string, Range>;
  readonly gradients: Record<string, Range>;
  readonly dout: Range;
  readonly out: Range;
}

const folder = new URL('./fixtures/', import.meta.url);
const file = JSON.parse(readFileSync(new URL('layers.json', folder), 'utf8')) as LayerFile;
const numbers = new Float32Array(new Uint8Array(readFileSync(new URL('layers.bin', folder))).buffer);
const arrayAt = ({ offset, length }: Range): Float32Array => numbers.slice(offset, offset + length);
const { B, S, T, C, heads: nHead } = file.sizes;
const normEps = 1e-5;

/** Biases and weights of norms are vectors; the other weights are [outputs, inputs], and rows of inputs [positions, C]. */
function shapeOf(name: string, { length }: Range): readonly number[] {
  if (name.endsWith('bias') || name.includes('norm')) return [length];
  return name.includes('linear2') ? [C, length / C] : [length / C, C];
}

/** The layers on a tape. */
class Layers {
  readonly #tape: Tape;
  readonly #parameters: Record<string, Parameter>;
  readonly #layer: string;

  constructor(tape: Tape, parameters: Record<string, Parameter>, layer: string) {
    this.#tape = tape;
    this.#parameters = parameters;
    this.#layer = layer;
  }

  linear(x: Variable, name: string, after: Partial<Parameters<Tape['linear']>[1]> = {}): Variable {
    const [weight, bias] = ['weight', 'bias'].map((kind) => this.#parameters[`${this.#layer}.${name}${kind}`]!);
    return this.#tape.linear(x, { weight: weight!, bias: bias!, weightTransposed: true, ...after });
  }

  norm(x: Variable, name: string): Variable {
    const [weight, bias] = ['weight', 'bias'].map((kind) => this.#parameters[`${this.#layer}.${name}.${kind}`]!);
    return this.#tape.layerNorm(x, { weight: weight!, bias: bias! }, normEps);
  }

  feedForward(x: Variable, norm: string): Variable {
    const active = this.linear(x, 'linear1.', { activation: 'relu' });
    return this.norm(this.linear(active, 'linear2.', { residual: x }), norm);
  }
}

/** For queries of each sample the length of its source. */
function sourceEnds(tape: Tape, queries: number) {
  const ends = Int32Array.from({ length: B * queries }, (_, i) => file.lengths[Math.floor(i / queries)]!);
  return { ends: tape.upload(ends, [B, queries]) };
}

function layers(tape: Tape, parameters: Record<string, Parameter>): Variable {
  const rowsOf = (name: string, length: number) =>
    tape.embedding(
      tape.upload(
        Int32Array.from({ length: B * length }, (_, i) => i),
        [B, length],
      ),
      parameters[name]!,
    );
  const [encoder, decoder] = ['encoder', 'decoder'].map((name) => new Layers(tape, parameters, name)) as [
    Layers,
    Layers,
  ];
  const source = rowsOf('source', S);
  const seen = tape.attention(encoder.linear(source, 'self_attn.in_proj_'), { nHead }, undefined, sourceEnds(tape, S));
  const first = encoder.norm(encoder.linear(seen, 'self_attn.out_proj.', { residual: source }), 'norm1');
  const memory = encoder.feedForward(first, 'norm2');

  const target = rowsOf('target', T);
  const own = tape.attention(decoder.linear(target, 'self_attn.in_proj_'), { nHead });
  const x = decoder.norm(decoder.linear(own, 'self_attn.out_proj.', { residual: target }), 'norm1');
  const q = decoder.linear(x, 'multihead_attn.q_proj_');
  const kv = decoder.linear(memory, 'multihead_attn.kv_proj_');
  const read = tape.crossAttention(q, kv, { nHead }, sourceEnds(tape, T));
  const y = decoder.norm(decoder.linear(read, 'multihead_attn.out_proj.', { residual: x }), 'norm2');
  return decoder.feedForward(y, 'norm3');
}

const engines: readonly (readonly [name: string, create: () => Promise<Engine>])[] = [
  ['float64', async () => new Float64Engine()],
  ['native', async () => createNativeEngine({ threads: 2 })],
  ['tfjs', async () => createTfjsEngine({ deviceKind: 'cpu' })],
];

describe.each(engines)('layers of an encoder and a decoder on %s', (_, create) => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await create();
  });
  afterAll(async () => engine.dispose());

  it('computes the result and the gradients of PyTorch', async () => {
    const names = Object.keys(file.values);
    const shapes = names.map((name) => shapeOf(name, file.values[name]!));
    const [values, grads] = [engine.allocGroup(shapes), engine.allocGroup(shapes)];
    engine.zeroGroup(grads);
    const parameters = Object.fromEntries(
      names.map((name, index) => {
        engine.upload(values.tensors[index]!, arrayAt(file.values[name]!));
        return [name, { index, name, value: values.tensors[index]!, grad: grads.tensors[index]! }];
      }),
    );
    const tape = new Tape(engine);
    const out = layers(tape, parameters);
    const result = await tape.read(out);
    expect(errorByRow(result, arrayAt(file.out), C)).toBeLessThan(1e-5);

    tape.backward([{ of: out, grad: tape.upload(arrayAt(file.dout), [B, T, C]) }]);
    for (const [index, name] of names.entries()) {
      const expected = arrayAt(file.gradients[name]!);
      const gradient = new Float32Array(expected.length);
      await engine.download(grads.tensors[index]!, gradient);
      // A key's bias adds the same to all scores of a query: its gradient is 0, and what remains is rounding.
      const most = Math.max(1, ...expected.map(Math.abs));
      for (const [i, value] of gradient.entries()) {
        expect(Math.abs(value - expected[i]!) / most, `${name}[${i}]`).toBeLessThan(1e-4);
      }
    }
    const rows = new Float32Array(B * S * C);
    await engine.download(grads.tensors[names.indexOf('source')]!, rows);
    for (const [sample, length] of file.lengths.entries()) {
      const padding = rows.subarray((sample * S + length) * C, (sample + 1) * S * C);
      expect(
        padding.every((value) => value === 0),
        `padding of source ${sample}`,
      ).toBe(true);
    }
    tape.discard();
  });
});

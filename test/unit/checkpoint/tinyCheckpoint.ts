/** A small GPT's worth of checkpoint contents, with bytes that depend on a number, and helpers around them. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { Gpt2Config } from '../../../src/architecture/gpt2.ts';
import { networkOf } from '../../../src/architecture/registry.ts';
import { elementCount, type TensorShape } from '../../../src/checkpoint/safetensors.ts';
import type { CheckpointStore } from '../../../src/checkpoint/store.ts';
import type { CheckpointContents } from '../../../src/checkpoint/writer.ts';

export const tinyModel: Gpt2Config = {
  architecture: 'gpt2',
  vocabSize: 11,
  blockSize: 8,
  nLayer: 2,
  nHead: 2,
  nEmbd: 6,
  dropout: 0.1,
  bias: true,
  activation: 'gelu',
  tiedHead: true,
  labels: [],
  valueHead: false,
  loraRank: 0,
  loraAlpha: 16,
  loraTargets: ['c_attn'],
};

/** Tensors in an order that is not that of their declaration, as the model layer's is not. */
export function tensorsOf(config: Gpt2Config): TensorShape[] {
  return networkOf(config)
    .specs.map(({ name, shape }) => ({ name, shape }))
    .reverse();
}

export function contentsAt(step: number, changes: { valLoss?: number | null; model?: Gpt2Config } = {}) {
  const modelConfig = changes.model ?? tinyModel;
  return {
    tensors: tensorsOf(modelConfig),
    modelConfig,
    tokenizerFiles: { 'tokenizer.json': '{"model":"char"}\n', 'tokenizer_config.json': '{}\n' },
    endOfText: undefined,
    trainer: {
      step,
      seed: 1337,
      data: { sha256: 'd'.repeat(64), samplesSeen: step * 12 },
      valLoss: changes.valLoss ?? null,
      config: { model: { nLayer: modelConfig.nLayer }, train: { seed: 1337 } },
    },
  } satisfies CheckpointContents;
}

/** The values of one part: distinct everywhere, and different for another part or seed. */
export function valuesOf(tensors: readonly TensorShape[], part: 0 | 1 | 2, seed: number): Float32Array {
  const count = tensors.reduce((total, { shape }) => total + elementCount(shape), 0);
  return Float32Array.from({ length: count }, (_, i) => (i + 1) / 7 + part * 1000 + seed * 17);
}

/** All three parts as the stream that the writer takes. */
export function streamBytes(tensors: readonly TensorShape[], seed: number): Uint8Array {
  const parts = [0, 1, 2].map((part) => valuesOf(tensors, part as 0 | 1 | 2, seed));
  return Buffer.concat(parts.map((values) => new Uint8Array(values.buffer)));
}

/** Writes a complete checkpoint, in odd-sized chunks. */
export async function writeTiny(store: CheckpointStore, contents: CheckpointContents): Promise<string> {
  const writer = await store.beginWrite(contents);
  const bytes = streamBytes(contents.tensors, contents.trainer.step);
  for (let at = 0; at < bytes.length; at += 5003) await writer.write(bytes.subarray(at, at + 5003));
  return writer.commit();
}

export async function collect(stream: AsyncIterable<Uint8Array>): Promise<Float32Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  const bytes = new Uint8Array(Buffer.concat(chunks));
  return new Float32Array(bytes.buffer, 0, bytes.length / 4);
}

/** A folder that is gone when the test is over. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'lockstep-test-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

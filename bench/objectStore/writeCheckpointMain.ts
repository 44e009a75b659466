/** Writes one checkpoint in a process of its own, so that its memory can be measured, and prints {@link CheckpointWrite} as JSON. */
import { resourceUsage } from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { declaredTensors } from '../../src/architecture/trainable.ts';
import { exitCodeOf, fullMessageOf } from '../../src/base/errors.ts';
import { CheckpointStore } from '../../src/checkpoint/store.ts';
import { stateChunkBytes } from '../../src/comm/protocol.ts';
import { modelOf } from '../../src/config/groups/model.ts';
import { configSchema } from '../../src/config/schema.ts';

/** The outcome. */
export interface CheckpointWrite {
  readonly seconds: number;
  readonly bytes: number;
  /** Most memory of the process during the write, beyond that before it. */
  readonly extraBytes: number;
}

const request = z.strictObject({ directory: z.string(), bytes: z.int().positive() });

/** Bytes of a number with its two moments. */
const numberBytes = 12;
const nEmbd = 64;

try {
  const { directory, bytes } = request.parse(JSON.parse(process.argv[2] ?? ''));
  process.stdout.write(JSON.stringify(await write(directory, bytes)));
} catch (error) {
  process.stderr.write(`${fullMessageOf(error)}\n`);
  process.exitCode = exitCodeOf(error);
}

/** The stream of a coordinator: chunks of a worker's state, each written before the next. */
async function write(directory: string, bytes: number): Promise<CheckpointWrite> {
  const vocabSize = Math.ceil(bytes / numberBytes / nEmbd);
  const config = configSchema.parse({ model: { nLayer: 1, nHead: 1, nEmbd, blockSize: 4 } });
  const modelConfig = modelOf(config.model, vocabSize);
  const tensors = declaredTensors(modelConfig, config.train.trainable, config.optimizer);
  const data = { sha256: '0'.repeat(64), samplesSeen: 1 };
  const trainer = { step: 1, seed: 1, data, valLoss: null, config: { ...config } };
  const contents = { tensors, modelConfig, tokenizerFiles: {}, endOfText: undefined, trainer };
  // Pages that are touched here count as before the write.
  const chunk = new Uint8Array(stateChunkBytes).map((_, i) => i * 31 + (i >> 8));
  await sleep(200);
  const before = process.memoryUsage.rss();
  const beganMs = performance.now();
  const writer = await new CheckpointStore(directory).beginWrite(contents);
  for (let at = 0; at < writer.expectedBytes; at += chunk.length) {
    await writer.write(chunk.subarray(0, Math.min(chunk.length, writer.expectedBytes - at)));
  }
  await writer.commit();
  const seconds = (performance.now() - beganMs) / 1_000;
  return { seconds, bytes: writer.expectedBytes, extraBytes: Math.max(0, resourceUsage().maxRSS * 1_024 - before) };
}

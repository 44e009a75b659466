/** A worker's state stream becomes a checkpoint on disk; whatever goes wrong with it ends the checkpoint, never the run. */
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type DiskOperations, nodeDisk } from '../../../src/base/diskOperations.ts';
import { partsOf } from '../../../src/base/stateParts.ts';
import { openCheckpoint } from '../../../src/checkpoint/openCheckpoint.ts';
import { CheckpointStore } from '../../../src/checkpoint/store.ts';
import { stateChunkBytes, stateChunksInFlight } from '../../../src/comm/protocol.ts';
import { Checkpointer, type CheckpointOutcome, StateFeed } from '../../../src/coordinator/checkpointer.ts';
import { contentsAt, streamBytes, tinyModel } from '../checkpoint/tinyCheckpoint.ts';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lockstep-checkpointer-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const chunkBytes = 1_000;

/** A checkpointer on a store, with what it reports. */
function setUp(disk: DiskOperations = nodeDisk) {
  const acknowledged: number[] = [];
  const givenUp: [to: string, step: number][] = [];
  const outcomes: CheckpointOutcome[] = [];
  let settled = () => {};
  const ended = new Promise<void>((resolve) => {
    settled = resolve;
  });
  const checkpointer = new Checkpointer({
    store: new CheckpointStore(folder, { disk }),
    acknowledge: (_, { offset }) => {
      acknowledged.push(offset);
    },
    giveUp: (to, step) => givenUp.push([to, step]),
    onOutcome: (outcome) => {
      outcomes.push(outcome);
      settled();
    },
  });
  return { checkpointer, acknowledged, givenUp, outcomes, ended };
}

function begin(checkpointer: Checkpointer, step: number): Uint8Array {
  const contents = contentsAt(step);
  const bytes = streamBytes(contents.tensors, step);
  checkpointer.begin({ term: 1, step, from: 'w0', bytes: bytes.byteLength, contents });
  return bytes;
}

function stream(checkpointer: Checkpointer, step: number, bytes: Uint8Array, from = 'w0'): void {
  for (let offset = 0; offset < bytes.byteLength; offset += chunkBytes) {
    checkpointer.receive(from, { term: 1, step, offset }, bytes.subarray(offset, offset + chunkBytes));
  }
}

/** A disk that refuses every write after that many bytes. */
function smallDisk(capacity: number): DiskOperations {
  let left = capacity;
  return {
    ...nodeDisk,
    async createFile(path) {
      const file = await nodeDisk.createFile(path);
      return {
        ...file,
        async write(bytes) {
          left -= bytes.byteLength;
          if (left < 0) throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
          await file.write(bytes);
        },
      };
    },
  };
}

describe('a checkpointer', () => {
  it('stores what is streamed, and acknowledges each chunk once it is stored', async () => {
    const { checkpointer, acknowledged, givenUp, outcomes, ended } = setUp();
    const bytes = begin(checkpointer, 3);
    stream(checkpointer, 3, bytes);
    await ended;
    expect(outcomes).toEqual([{ step: 3, path: join(folder, 'step-00000003') }]);
    expect(acknowledged.at(-1)).toBe(bytes.byteLength);
    expect(givenUp).toEqual([]);
    expect(acknowledged).toEqual([...acknowledged].sort((a, b) => a - b));
    const checkpoint = await openCheckpoint(join(folder, 'step-00000003'));
    const read: Uint8Array[] = [];
    const names = contentsAt(3).tensors.map(({ name }) => name);
    for (const part of partsOf({ trained: true })) {
      for await (const chunk of checkpoint.stream(part, names)) read.push(chunk.slice());
    }
    expect(Buffer.concat(read).equals(bytes)).toBe(true);
  });

  it('ignores the chunks of another worker or another step', async () => {
    const { checkpointer, outcomes, ended } = setUp();
    const bytes = begin(checkpointer, 3);
    stream(checkpointer, 3, new Uint8Array(bytes.byteLength), 'w1');
    stream(checkpointer, 2, new Uint8Array(bytes.byteLength));
    stream(checkpointer, 3, bytes);
    await ended;
    expect(outcomes).toEqual([{ step: 3, path: join(folder, 'step-00000003') }]);
  });

  it.each<[string, (checkpointer: Checkpointer, bytes: Uint8Array) => void]>([
    [
      'a gap',
      (c, bytes) =>
        c.receive('w0', { term: 1, step: 3, offset: chunkBytes }, bytes.subarray(chunkBytes, 2 * chunkBytes)),
    ],
    [
      'more than was announced',
      (c, bytes) => c.receive('w0', { term: 1, step: 3, offset: 0 }, new Uint8Array(bytes.byteLength + 4)),
    ],
    ['a chunk without bytes', (c) => c.receive('w0', { term: 1, step: 3, offset: 0 }, undefined)],
  ])('gives up a stream with %s, and leaves nothing of it', async (_, play) => {
    const { checkpointer, outcomes, ended } = setUp();
    play(checkpointer, begin(checkpointer, 3));
    await ended;
    expect(outcomes).toEqual([{ step: 3, error: expect.stringMatching(/^expected state from byte/) }]);
    expect(await readdir(folder)).toEqual([]);
  });

  it('gives up when the disk fills up in the middle of the stream, once, and can write the next', async () => {
    const { checkpointer, outcomes, ended, acknowledged, givenUp } = setUp(smallDisk(20_000));
    const bytes = begin(checkpointer, 3);
    stream(checkpointer, 3, bytes);
    await ended;
    await checkpointer.abort();
    expect(outcomes).toEqual([{ step: 3, error: expect.stringMatching(/the disk is full \(ENOSPC/) }]);
    expect(givenUp).toEqual([['w0', 3]]);
    expect(acknowledged.at(-1)).toBeGreaterThan(0);
    expect(acknowledged.at(-1)).toBeLessThan(bytes.byteLength);
    expect(await readdir(folder)).toEqual([]);

    const roomy = setUp();
    stream(roomy.checkpointer, 4, begin(roomy.checkpointer, 4));
    await roomy.ended;
    expect(await readdir(folder)).toEqual(['step-00000004']);
  });

  it('reports a worker whose tensors are not those of the model', async () => {
    const { checkpointer, outcomes, ended } = setUp();
    const contents = contentsAt(3);
    checkpointer.begin({
      term: 1,
      step: 3,
      from: 'w0',
      bytes: 12,
      contents: { ...contents, tensors: [{ name: 'w', shape: [1] }] },
    });
    await ended;
    expect(outcomes).toMatchObject([{ step: 3, error: expect.any(String) }]);
    expect(await readdir(folder)).toEqual([]);
  });

  it('costs no older checkpoint its place where those are to stay, which is asked when it is written', async () => {
    const store = new CheckpointStore(folder, { keep: 1 });
    let keepsOlder = false;
    const outcomes: number[] = [];
    const onOutcome = ({ step }: CheckpointOutcome) => outcomes.push(step);
    const ignore = () => undefined;
    const options = { store, acknowledge: ignore, giveUp: ignore, onOutcome, keepsOlder: () => keepsOlder };
    const checkpointer = new Checkpointer(options);
    for (const step of [1, 2, 3]) {
      const bytes = begin(checkpointer, step);
      keepsOlder = step === 3;
      stream(checkpointer, step, bytes);
      await vi.waitFor(() => expect(outcomes).toContain(step));
    }
    expect((await readdir(folder)).sort()).toEqual(['step-00000002', 'step-00000003']);
  });

  it('removes what is half written when it is aborted, and reports no outcome', async () => {
    const { checkpointer, outcomes } = setUp();
    const bytes = begin(checkpointer, 3);
    checkpointer.receive('w0', { term: 1, step: 3, offset: 0 }, bytes.subarray(0, chunkBytes));
    await checkpointer.abort();
    await checkpointer.abort();
    expect(outcomes).toEqual([]);
    expect(await readdir(folder)).toEqual([]);
  });
});

describe('a state feed', () => {
  /** Wide enough for several chunks. */
  const model = { ...tinyModel, vocabSize: 40_000, nEmbd: 48 };

  async function written() {
    const contents = contentsAt(1, { model });
    const bytes = streamBytes(contents.tensors, 1);
    const writer = await new CheckpointStore(folder).beginWrite(contents);
    await writer.write(bytes);
    const checkpoint = await openCheckpoint(await writer.commit());
    return {
      checkpoint,
      bytes,
      tensors: contents.tensors.map(({ name }) => ({ name, parts: partsOf({ trained: true }) })),
    };
  }

  it('sends the state in order, and stays a few chunks ahead of what is acknowledged', async () => {
    const { checkpoint, bytes, tensors } = await written();
    const feed = new StateFeed();
    const received = new Uint8Array(bytes.byteLength);
    let [arrived, acknowledged, aheadMax] = [0, 0, 0];
    await feed.run(checkpoint, tensors, (offset, chunk) => {
      expect(offset).toBe(arrived);
      expect(chunk.byteLength).toBeLessThanOrEqual(stateChunkBytes);
      received.set(chunk, offset);
      arrived += chunk.byteLength;
      aheadMax = Math.max(aheadMax, arrived - acknowledged);
      setTimeout(() => {
        acknowledged = offset + chunk.byteLength;
        feed.acknowledged(acknowledged);
      });
    });
    expect(Buffer.from(received).equals(bytes)).toBe(true);
    expect(bytes.byteLength).toBeGreaterThan(stateChunkBytes * stateChunksInFlight);
    expect(aheadMax).toBeLessThanOrEqual(stateChunkBytes * stateChunksInFlight);
  });

  it('ends when it is stopped, though nobody acknowledges, and takes no acknowledgement of what was not sent', async () => {
    const { checkpoint, bytes, tensors } = await written();
    const feed = new StateFeed();
    let sent = 0;
    const over = feed.run(checkpoint, tensors, (_, chunk) => {
      sent += chunk.byteLength;
    });
    feed.acknowledged(Number.MAX_SAFE_INTEGER);
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(sent).toBeLessThan(bytes.byteLength);
    feed.stop();
    await over;
    expect(sent).toBeLessThanOrEqual(stateChunkBytes * stateChunksInFlight);
  });
});

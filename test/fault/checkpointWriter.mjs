/**
 * Run by checkpointKill.test.ts in a process of its own: writes one checkpoint into a folder, or only looks for the newest in
 * it, and kills itself with SIGKILL at the disk operation whose number it is given: in the middle of a write, before any other.
 * usage: node checkpointWriter.mjs FOLDER STEP|open KILL_AT
 */
import { networkOf } from '../../dist/architecture/registry.js';
import { nodeDisk } from '../../dist/base/diskOperations.js';
import { CheckpointStore } from '../../dist/checkpoint/store.js';

const [folder, step, killAt] = process.argv.slice(2);
let operations = 0;

async function maybeDie(halfDo) {
  if (operations++ !== Number(killAt)) return;
  await halfDo?.();
  process.kill(process.pid, 'SIGKILL');
  await new Promise(() => undefined); // until the signal arrives
}

const dying = (operation) => async (path, to) => {
  await maybeDie();
  return nodeDisk[operation](path, to);
};
const disk = {
  makeDirectory: dying('makeDirectory'),
  rename: dying('rename'),
  syncDirectory: dying('syncDirectory'),
  removeTree: dying('removeTree'),
  freeBytes: nodeDisk.freeBytes,
  async createFile(path) {
    await maybeDie();
    const file = await nodeDisk.createFile(path);
    return {
      async write(bytes) {
        await maybeDie(() => file.write(bytes.subarray(0, bytes.length >> 1)));
        await file.write(bytes);
      },
      async sync() {
        await maybeDie();
        await file.sync();
      },
      close: () => file.close(),
    };
  },
};

const store = new CheckpointStore(folder, { keep: 1, disk });
if (step === 'open') {
  await store.newestWhole();
  process.exit();
}
const modelConfig = {
  architecture: 'gpt2',
  vocabSize: 11,
  blockSize: 8,
  nLayer: 1,
  nHead: 2,
  nEmbd: 6,
  dropout: 0,
  bias: true,
  activation: 'gelu',
  tiedHead: true,
  labels: [],
  loraRank: 0,
  loraAlpha: 16,
  loraTargets: ['c_attn'],
};
const tensors = networkOf(modelConfig).specs.map(({ name, shape }) => ({ name, shape }));
const trainer = {
  step: Number(step),
  seed: 1,
  data: { sha256: '0'.repeat(64), samplesSeen: 0 },
  valLoss: null,
  config: {},
};
const tokenizerFiles = { 'tokenizer.json': '{}' };
const writer = await store.beginWrite({ tensors, modelConfig, tokenizerFiles, endOfText: undefined, trainer });
const values = new Float32Array(writer.expectedBytes / 4).fill(Number(step));
await writer.write(new Uint8Array(values.buffer));
await writer.commit();

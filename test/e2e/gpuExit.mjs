/** A program that ends in one of several ways while a GPU works: node gpuExit.mjs DIST WAY. It prints what it sees. */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const print = (text) => process.stdout.write(`${text}\n`);
const [dist, way] = process.argv.slice(2);
const load = (path) => import(pathToFileURL(join(dist, path)).href);
const { configSchema } = await load('config/schema.js');

if (way === 'engine') {
  const { createEngine } = await load('engine/registry.js');
  const engine = await createEngine({ name: 'webgpu' });
  const group = engine.allocGroup([[1024, 1024]]);
  engine.copyOut(group, 0, group.length, engine.hostRange(group, 0, group.length)).catch(() => undefined);
  // Neither read nor disposed of: the program ends.
} else {
  const { ReplicaThread } = await load('worker/replicaThread.js');
  const config = configSchema.parse({
    model: { nLayer: 4, nHead: 4, nEmbd: 256, blockSize: 32 },
    engine: { name: 'webgpu' },
  });
  const replica = new ReplicaThread();
  const building = replica.build({
    config,
    vocabSize: 64,
    objective: 'next-token',
    threads: 1,
    localIndex: 0,
    trace: false,
  });
  if (way === 'building') {
    building.catch((error) => print(error.message));
    await new Promise((resolve) => setTimeout(resolve, 200));
    await replica.close();
  } else {
    const { blocks } = await building;
    const state = blocks.map(({ length }) => new Float32Array(new SharedArrayBuffer(4 * length)));
    if (way === 'kernel') {
      const batch = { sampleCount: 1, arrays: { tokens: { data: new Int32Array(7), shape: [7] } } };
      const step = { step: 1, sampleFrom: 0, batch, globalWeight: 1, isAlone: true, trace: false };
      await replica.step(step, () => undefined).catch((error) => print(`step: ${error.message.split('\n')[0]}`));
      await replica.close();
    } else {
      const read = replica.exportState({ state }).then(
        () => print('read'),
        (error) => print(error.message),
      );
      await replica.parameterHash().then(
        () => undefined,
        (error) => print(error.message),
      );
      const reads = [1, 2, 3].map(() => replica.exportState({ state }).catch((error) => print(error.message)));
      if (way === 'close') await replica.close();
      if (way === 'exit') process.exit(3);
      if (way === 'throw') throw new Error('the program has failed');
      await Promise.all([read, ...reads]);
      if (way === 'lost') await replica.close();
    }
  }
}
print('ended');

/** A worker that trains some parameters only: what it holds, hashes and hands on. */
import { afterEach, expect, it } from 'vitest';
import { isTrainedBy } from '../../../src/architecture/trainable.ts';
import { isTrainedTensor } from '../../../src/base/stateParts.ts';
import type { CoordinatorMessageOf } from '../../../src/comm/coordinatorMessages.ts';
import { modelOf } from '../../../src/config/groups/model.ts';
import { configSchema } from '../../../src/config/schema.ts';
import { parameterSpecs } from '../../../src/model/parameterOrder.ts';
import { tokenBatch } from '../../../src/task/nextToken.ts';
import { Inbox } from '../../../src/worker/inbox.ts';
import { TrackedReplica } from '../../../src/worker/trackedReplica.ts';
import { InProcessReplica } from '../../engines/inProcessReplica.ts';
import { testEngines } from '../../engines/testEngines.ts';

const vocabSize = 16;
const trainable = ['transformer.h.1.*', 'transformer.ln_f.weight'];
const model = { blockSize: 8, nLayer: 2, nHead: 2, nEmbd: 8, dropout: 0 };

const replicas: TrackedReplica[] = [];
afterEach(async () => {
  for (const replica of replicas.splice(0)) await replica.close();
});

async function built(engineName: 'native' | 'tfjs', seed = 1) {
  const inbox = new Inbox();
  const held = new TrackedReplica({
    makeReplica: () => new InProcessReplica(testEngines),
    inbox,
  });
  replicas.push(held);
  const engine = { name: engineName, deviceKind: engineName === 'tfjs' ? 'cpu' : 'auto', threads: 1 };
  const config = configSchema.parse({ model, train: { trainable, seed }, engine });
  await held.build({ config, vocabSize, objective: 'next-token', threads: 1, localIndex: 0, trace: false });
  return { held, inbox };
}

/** One update on the replica's own gradients. */
async function train({ replica }: TrackedReplica): Promise<void> {
  const tokens = Int32Array.from({ length: 16 }, (_, i) => (7 * i) % vocabSize);
  const batch = tokenBatch(
    tokens,
    tokens.map((token) => (token + 1) % vocabSize),
    8,
  );
  await replica.step({ step: 1, sampleFrom: 0, batch, globalWeight: 16, worldSize: 1, trace: false }, (bucket) =>
    replica.reduced(bucket),
  );
  await replica.apply({ step: 1, learningRate: 0.1, gradNorm: await replica.gradNorm() });
}

/** The numbers of its stream. */
async function numbersOf(held: TrackedReplica): Promise<Float32Array> {
  const { state, copied } = held.snapshot();
  await copied;
  return new Float32Array(state.copy(0, state.byteLength).buffer);
}

const specs = parameterSpecs(modelOf(configSchema.parse({ model }).model, vocabSize));
const trained = specs.filter(isTrainedBy(trainable));
const sizeOf = (some: typeof specs) => some.reduce((sum, { size }) => sum + size, 0);
const [all, some] = [sizeOf(specs), sizeOf(trained)];

it.each(['native', 'tfjs'] as const)('%s streams all parameters, and moments of the trained ones', async (engine) => {
  const { held } = await built(engine);
  expect(trained.length).toBe(13);
  expect(held.built.tensors.map((tensor) => [tensor.name, isTrainedTensor(tensor)])).toEqual([
    ...trained.map(({ name }) => [name, true]),
    ...specs.filter((spec) => !trained.includes(spec)).map(({ name }) => [name, false]),
  ]);
  expect(held.built.buckets.at(-1)!.end).toBe(held.built.gradients.length);
  expect(held.built.gradients.length).toBeLessThan(all);
  const before = await numbersOf(held);
  await train(held);
  const after = await numbersOf(held);
  expect(after.length).toBe(all + 2 * some);
  expect(after.subarray(some, all)).toEqual(before.subarray(some, all));
  const changed = after.findIndex((value, i) => (i < some || i >= all) && value === before[i]);
  expect(changed, 'a trained parameter, or a moment, that has not changed').toBe(-1);
});

it.each(['native', 'tfjs'] as const)('%s hashes frozen parameters, and receives them', async (engine) => {
  const [one, other] = [await built(engine, 1), await built(engine, 2)];
  await train(one.held);
  const numbers = await numbersOf(one.held);
  numbers[all - 1]! += 1; // of a frozen one
  const bytes = new Uint8Array(numbers.buffer);
  const hashes = async ({ replica }: TrackedReplica) => [await replica.parameterHash(), await replica.stateHash()];
  const form: CoordinatorMessageOf<'form'> = {
    type: 'form',
    term: 3,
    rank: 0,
    worldSize: 1,
    nextAddress: 'memory://1',
    previousAddress: 'memory://1',
    step: 1,
    committedTerm: 0,
    state: 'receive',
    send: false,
    verify: false,
  };
  const receive = async ({ held, inbox }: typeof one, payload: Uint8Array) => {
    inbox.deliver({ message: form, payload: undefined });
    await inbox.takeForm();
    await held.take(form, async (into) => into.write(0, payload));
    return await hashes(held);
  };
  const before = await hashes(one.held);
  const received = await receive(other, bytes);
  expect(await numbersOf(other.held)).toEqual(numbers);
  expect(received[0]).not.toBe(before[0]);
  expect(received[1]).not.toBe(before[1]);
  expect(await receive(one, bytes)).toEqual(received);
});

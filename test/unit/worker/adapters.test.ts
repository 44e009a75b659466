/** A worker with adapters that receives a state: it computes with that, though it has computed with another before. */
import { afterEach, expect, it } from 'vitest';
import type { CoordinatorMessageOf } from '../../../src/comm/coordinatorMessages.ts';
import { configSchema } from '../../../src/config/schema.ts';
import { tokenBatch } from '../../../src/task/nextToken.ts';
import { Inbox } from '../../../src/worker/inbox.ts';
import { TrackedReplica } from '../../../src/worker/trackedReplica.ts';
import { InProcessReplica } from '../../engines/inProcessReplica.ts';
import { testEngines } from '../../engines/testEngines.ts';

const vocabSize = 16;
const tokens = Int32Array.from({ length: 16 }, (_, i) => (7 * i) % vocabSize);
const batch = tokenBatch(
  tokens,
  tokens.map((token) => (token + 1) % vocabSize),
  8,
);

const replicas: TrackedReplica[] = [];
afterEach(async () => {
  for (const replica of replicas.splice(0)) await replica.close();
});

async function built(name: 'native' | 'tfjs') {
  const inbox = new Inbox();
  const makeReplica = () => new InProcessReplica(testEngines);
  const held = new TrackedReplica({ makeReplica, inbox });
  replicas.push(held);
  const config = configSchema.parse({
    model: { blockSize: 8, nLayer: 1, nHead: 2, nEmbd: 8, dropout: 0, loraRank: 2 },
    engine: { name, deviceKind: name === 'tfjs' ? 'cpu' : 'auto', threads: 1 },
  });
  await held.build({ config, vocabSize, objective: 'next-token', threads: 1, localIndex: 0, trace: false });
  return { held, inbox };
}

async function train({ replica }: TrackedReplica): Promise<void> {
  const step = { step: 1, sampleFrom: 0, batch, globalWeight: 16, worldSize: 1, trace: false };
  await replica.step(step, (bucket) => replica.reduced(bucket));
  await replica.apply({ step: 1, learningRate: 0.1, gradNorm: await replica.gradNorm() });
}

it.each(['native', 'tfjs'] as const)('%s computes with the received adapters', async (engine) => {
  const [sender, receiver] = [await built(engine), await built(engine)];
  const losses = ({ held }: typeof sender) => held.replica.evaluate({ batch });
  const initial = await losses(receiver);
  await train(sender.held);
  const trained = await losses(sender);
  expect(trained.loss).toBeLessThan(initial.loss);
  const { state, copied } = sender.held.snapshot();
  await copied;
  const form: CoordinatorMessageOf<'form'> = {
    ...{ type: 'form', term: 2, rank: 0, worldSize: 1, nextAddress: 'memory://1', previousAddress: 'memory://1' },
    ...{ step: 1, committedTerm: 1, state: 'receive', send: false, verify: false },
  };
  receiver.inbox.deliver({ message: form, payload: undefined });
  await receiver.inbox.takeForm();
  await receiver.held.take(form, async (into) => into.write(0, state.copy(0, state.byteLength)));
  expect(await losses(receiver)).toEqual(trained);
});

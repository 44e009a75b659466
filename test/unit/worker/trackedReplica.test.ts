import { afterEach, expect, it } from 'vitest';
import type { CoordinatorMessageOf } from '../../../src/comm/coordinatorMessages.ts';
import { configSchema } from '../../../src/config/schema.ts';
import { Inbox } from '../../../src/worker/inbox.ts';
import { TrackedReplica } from '../../../src/worker/trackedReplica.ts';
import { InProcessReplica } from '../../engines/inProcessReplica.ts';
import { testEngines } from '../../engines/testEngines.ts';

const config = configSchema.parse({
  model: { blockSize: 8, nLayer: 1, nHead: 2, nEmbd: 8, dropout: 0 },
  engine: { name: 'native', threads: 1 },
});
const job = { config, vocabSize: 16, objective: 'next-token', threads: 1, localIndex: 0, trace: false };
const formOf = (term: number, step: number, state: 'initialise' | 'receive'): CoordinatorMessageOf<'form'> => {
  const alone = { rank: 0, worldSize: 1, nextAddress: 'memory://1', previousAddress: 'memory://1' };
  return { type: 'form', term, ...alone, step, committedTerm: 0, state, send: false, verify: false };
};

/** Builds when it is told to. */
class SlowReplica extends InProcessReplica {
  static allow: () => void;
  readonly #allowed = new Promise<void>((resolve) => {
    SlowReplica.allow = resolve;
  });

  override async build(task: Parameters<InProcessReplica['build']>[0]) {
    await this.#allowed;
    return await super.build(task);
  }
}

let held: TrackedReplica;
afterEach(() => held.close());

it('a state that comes while a new replica is built is received by that one', async () => {
  const inbox = new Inbox();
  const makers = [InProcessReplica, SlowReplica].values();
  held = new TrackedReplica({
    makeReplica: () => new (makers.next().value!)(testEngines),
    inbox,
  });
  await held.build(job);
  await held.apply({ step: 1, learningRate: 0.1, gradNorm: 1 }, 1);
  const hash = await held.replica.stateHash();
  const { state, copied } = held.snapshot();
  await copied;
  const bytes = state.copy(0, state.byteLength);

  const initialising = held.take(formOf(2, 0, 'initialise'), () => expect.unreachable());
  const isOver = expect(initialising).rejects.toThrow('another term');
  await new Promise(setImmediate); // the former replica is closed, and the new one being built
  inbox.interrupt(new Error('another term'));
  await isOver;

  const form = formOf(3, 1, 'receive');
  inbox.deliver({ message: form, payload: undefined });
  await inbox.takeForm();
  const receiving = held.take(form, async (into) => into.write(0, bytes));
  SlowReplica.allow();
  await receiving;
  expect(held.claim).toEqual({ step: 1, term: 0 });
  expect(await held.replica.stateHash()).toBe(hash);
});

import { describe, expect, it } from 'vitest';
import type { CoordinatorMessage } from '../../../src/comm/protocol.ts';
import { Inbox } from '../../../src/worker/inbox.ts';

const proceed = (step: number): { message: CoordinatorMessage; payload: undefined } => ({
  message: { type: 'proceed', epoch: 1, step },
  payload: undefined,
});
const snapshot = { message: { type: 'snapshot', epoch: 1, step: 1 } as const, payload: undefined };

describe('the inbox', () => {
  it('gives messages of the wanted types, oldest first, whether they come before or after the wait', async () => {
    const inbox = new Inbox();
    inbox.deliver(snapshot);
    inbox.deliver(proceed(1));
    expect((await inbox.take('proceed')).message.step).toBe(1);
    const waiting = inbox.take('proceed', 'commit');
    inbox.deliver(proceed(2));
    expect((await waiting).message.step).toBe(2);
    expect((await inbox.take('snapshot')).message).toEqual(snapshot.message);
  });

  it('ends every wait with the first cause, present and later', async () => {
    const inbox = new Inbox();
    const taking = inbox.take('proceed');
    const working = inbox.orEnd(new Promise(() => {}));
    inbox.end(new Error('first'));
    inbox.end(new Error('second'));
    await expect(taking).rejects.toThrow('first');
    await expect(working).rejects.toThrow('first');
    await expect(inbox.take('proceed')).rejects.toThrow('first');
    await expect(inbox.orEnd(Promise.resolve(1))).rejects.toThrow('first');
  });

  it('passes results and errors of work through', async () => {
    const inbox = new Inbox();
    expect(await inbox.orEnd(Promise.resolve(3))).toBe(3);
    await expect(inbox.orEnd(Promise.reject(new Error('own')))).rejects.toThrow('own');
  });
});

import { describe, expect, it } from 'vitest';
import type { CoordinatorMessage } from '../../../src/comm/coordinatorMessages.ts';
import { Inbox } from '../../../src/worker/inbox.ts';

const proceed = (step: number): { message: CoordinatorMessage; payload: undefined } => ({
  message: { type: 'proceed', term: 1, step },
  payload: undefined,
});
const snapshot = { message: { type: 'snapshot', term: 1, step: 1 } as const, payload: undefined };

const form = (term: number): { message: CoordinatorMessage; payload: undefined } => {
  const place = { rank: 0, worldSize: 1, nextAddress: 'next', previousAddress: 'previous', step: 0, committedTerm: 0 };
  return { message: { type: 'form', term, ...place, state: 'keep', send: false, verify: false }, payload: undefined };
};

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

  it('is interrupted until the next form is taken, of which only the newest counts', async () => {
    const inbox = new Inbox();
    const waiting = inbox.take('assign');
    inbox.deliver(proceed(1));
    inbox.deliver(form(2));
    inbox.interrupt(new Error('term 2'));
    await expect(waiting).rejects.toThrow('term 2');
    await expect(inbox.orEnd(Promise.resolve(1))).rejects.toThrow('term 2');
    await expect(inbox.take('assign')).rejects.toThrow('term 2');
    inbox.deliver(form(3));
    expect((await inbox.takeForm()).message.term).toBe(3);
    // What came for an older term is gone.
    const next = inbox.take('proceed');
    inbox.deliver({ message: { type: 'proceed', term: 3, step: 9 }, payload: undefined });
    expect((await next).message.step).toBe(9);
  });

  it('gives a commit that came before the interruption', async () => {
    const inbox = new Inbox();
    const waiting = inbox.take('commit');
    const commit = {
      type: 'commit',
      term: 1,
      step: 1,
      learningRate: 0,
      gradNorm: 1,
      hash: false,
      hold: false,
    } as const;
    inbox.deliver({ message: commit, payload: undefined });
    inbox.deliver(form(2));
    inbox.interrupt(new Error('term 2'));
    expect((await waiting).message).toEqual(commit);
  });
});

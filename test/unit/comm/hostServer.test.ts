/** Envelopes, and the coordinator's end of them. */
import { describe, expect, it } from 'vitest';
import { PeerError } from '../../../src/base/errors.ts';
import {
  decodeEnvelope,
  type EnvelopeMessage,
  encodeEnvelope,
  isEnvelope,
  PeerLists,
} from '../../../src/comm/hostEnvelope.ts';
import { HostServer } from '../../../src/comm/hostServer.ts';
import type { ControlServer } from '../../../src/comm/link.ts';
import { encodeMessage } from '../../../src/comm/protocol.ts';

const bytes = (...values: number[]) => Uint8Array.from(values);
/** A frame with the head of an envelope. */
const headed = (...values: number[]) => bytes(0xc1, 2, ...values);
const heartbeat = encodeMessage({ type: 'heartbeat' });

function about(peer: string | string[], message: Uint8Array | undefined, payload?: Uint8Array): EnvelopeMessage {
  return { peers: [peer].flat(), message, payload };
}

/** A server whose frames the test makes and sees. */
class FakeServer implements ControlServer {
  readonly address = 'memory://fake';
  readonly dropped = 0;
  readonly sent: { peer: string; message: Uint8Array; payload: Uint8Array | undefined }[] = [];
  receive: (peer: string, message: Uint8Array, payload?: Uint8Array) => void = () => {};
  lose: (peer: string, reason: string) => void = () => {};

  send(peer: string, message: Uint8Array, payload?: Uint8Array): void {
    this.sent.push({ peer, message, payload });
  }

  onMessage(listener: FakeServer['receive']): void {
    this.receive = listener;
  }

  onPeerGone(listener: FakeServer['lose']): void {
    this.lose = listener;
  }

  async close(): Promise<void> {}

  from(agent: string, ...messages: EnvelopeMessage[]): void {
    const { frame, payload } = encodeEnvelope(messages);
    this.receive(agent, frame, payload);
  }

  /** What was sent to an agent. */
  envelopesTo(agent: string): EnvelopeMessage[][] {
    return this.sent
      .filter(({ peer }) => peer === agent)
      .map(({ message, payload }) => decodeEnvelope(message, payload));
  }
}

function opened() {
  const fake = new FakeServer();
  const server = new HostServer(fake);
  const heard: [string, number[], number[] | undefined][] = [];
  const together: [readonly string[], number[]][] = [];
  const gone: [string, string][] = [];
  server.onMessage((peer, message, payload) => void heard.push([peer, [...message], payload && [...payload]]));
  server.onReports((peers, message) => void together.push([peers, [...message]]));
  server.onPeerGone((peer, reason) => void gone.push([peer, reason]));
  return { fake, server, heard, together, gone };
}

describe('an envelope', () => {
  it('keeps messages, payloads of any length and closed connections in order', () => {
    const messages = [
      about('a', bytes(1, 2), bytes(3)),
      about(['a', 'b'], bytes(4)),
      about('b', undefined),
      about('c', bytes(5), bytes()),
      about('c', bytes(6), bytes(7, 8, 9)),
    ];
    const { frame, payload } = encodeEnvelope(messages);
    expect(isEnvelope(frame)).toBe(true);
    const plain = (list: EnvelopeMessage[]) =>
      list.map(({ peers, message, payload: own }) => [peers, message && [...message], own && [...own]]);
    expect(plain(decodeEnvelope(frame, payload))).toEqual(plain(messages));
  });

  it('has these bytes: another format has another version', () => {
    const { frame, payload } = encodeEnvelope([about(['a', 'b'], bytes(1), bytes(7)), about('c', undefined)]);
    expect(Buffer.from(frame).toString('hex')).toBe('c102' + '92' + '93a3612062c4010101' + '93a163c0ff');
    expect(payload).toEqual(bytes(7));
  });

  it('looks like no message of a worker', () => {
    expect(isEnvelope(heartbeat)).toBe(false);
    expect(isEnvelope(bytes())).toBe(false);
  });

  it.each<[string, Uint8Array, Uint8Array | undefined]>([
    ['nothing', bytes(0xc1), undefined],
    ['no list', headed(0x01), undefined],
    ['a message of another kind', headed(0x91, 0x01), undefined],
    ['a malformed id', encodeEnvelope([about('a/b', bytes(1))]).frame, undefined],
    ['a long id', encodeEnvelope([about(['a', 'b'.repeat(65)], bytes(1))]).frame, undefined],
    ['an empty id', encodeEnvelope([about(['a', '', 'b'], bytes(1))]).frame, undefined],
    ['too many ids', encodeEnvelope([about(Array(4_097).fill('a'), bytes(1))]).frame, undefined],
    ['ids of another type', headed(0x91, 0x93, 0x91, 0xa1, 0x61, 0xc4, 0x01, 0x01, 0xff), undefined],
    ['nobody', encodeEnvelope([about([], bytes(1))]).frame, undefined],
    ['an empty message', encodeEnvelope([about('a', bytes())]).frame, undefined],
    ['a payload that is missing', encodeEnvelope([about('a', bytes(1), bytes(1, 2))]).frame, bytes(1)],
    ['a payload that belongs to nobody', encodeEnvelope([about('a', bytes(1))]).frame, bytes(1)],
    ['what msgpack cannot read', headed(0xc1), undefined],
    ['another version', bytes(0xc1, 3, 0x90), undefined],
  ])('with %s is refused', (_, frame, payload) => {
    expect(() => decodeEnvelope(frame, payload)).toThrow(PeerError);
  });
});

it('names the same peers by the same list, and forgets lists when they have too many ids', () => {
  const lists = new PeerLists();
  const named = lists.of('a b');
  expect(named).toEqual(['a', 'b']);
  expect(lists.of('a b')).toBe(named);
  const many = (i: number) => lists.of([`list${i}`, ...Array<string>(4_095).fill('w')].join(' '));
  for (let i = 0; i < 15; i++) expect(many(i)).toHaveLength(4_096);
  expect(lists.of('a b')).toBe(named);
  many(15);
  expect(lists.of('a b')).toEqual(named);
  expect(lists.of('a b')).not.toBe(named);
});

describe('a server of envelopes', () => {
  it('answers an agent that asks', () => {
    const { fake, heard } = opened();
    fake.from('agent');
    expect(fake.envelopesTo('agent')).toEqual([[]]);
    expect(heard).toEqual([]);
  });

  it('does not answer an agent with another format, whose workers then connect by themselves', () => {
    const { fake, server, heard } = opened();
    // The format before versions, and one to come.
    for (const probe of [bytes(0xc1, 0x90), bytes(0xc1, 3, 0x90)]) fake.receive('agent', probe);
    expect(fake.sent).toEqual([]);
    expect(server.dropped).toBe(2);
    fake.receive('a', bytes(1));
    expect(heard).toEqual([['a', [1], undefined]]);
  });

  it('gives workers of a host and others their own ids', () => {
    const { fake, heard } = opened();
    fake.from('agent', about('a', bytes(1)), about('b', bytes(2), bytes(3)));
    fake.receive('c', bytes(4), bytes(5));
    expect(heard).toEqual([
      ['a', [1], undefined],
      ['b', [2], [3]],
      ['c', [4], [5]],
    ]);
  });

  it('sends what is equal once to a host, before messages with a payload', async () => {
    const { fake, server } = opened();
    fake.from('one', about('a', bytes(1)), about('b', bytes(1)));
    fake.from('two', about('c', bytes(1)));
    for (const peer of ['a', 'b', 'c', 'd']) server.send(peer, bytes(9));
    expect(fake.sent.map(({ peer }) => peer)).toEqual(['d']);
    for (const peer of ['a', 'b', 'c']) server.send(peer, bytes(8), bytes(peer.charCodeAt(0)));
    await Promise.resolve();
    const [commit, samples, ...rest] = fake.envelopesTo('one');
    expect(rest).toEqual([]);
    expect(commit).toMatchObject([{ peers: ['a', 'b'], payload: undefined }]);
    expect(samples?.map(({ peers, payload }) => [...peers, ...(payload ?? [])])).toEqual([
      ['a', 97],
      ['b', 98],
    ]);
    expect(fake.envelopesTo('two')).toHaveLength(2);
  });

  it('sends the samples of several workers with what waits for them', async () => {
    const { fake, server } = opened();
    fake.from('one', about('a', bytes(1)), about('b', bytes(1)));
    expect([server.agentOf('a'), server.agentOf('c')]).toEqual(['one', undefined]);
    server.send('a', bytes(9));
    server.sendShares('one', ['a', 'b'], bytes(8), bytes(7));
    server.sendShares('gone', ['a', 'b'], bytes(8), bytes(7));
    await Promise.resolve();
    expect(fake.envelopesTo('one')).toMatchObject([[{ peers: ['a'] }, { peers: ['a', 'b'], payload: bytes(7) }]]);
  });

  it('loses the workers of a host whose envelope cannot be sent, and no others', async () => {
    const { fake, server, gone } = opened();
    fake.from('one', about('a', bytes(1)), about('b', bytes(1)));
    fake.from('two', about('c', bytes(1)));
    const send = fake.send.bind(fake);
    fake.send = (peer, message, payload) => {
      if (peer === 'one') throw new PeerError('too large');
      send(peer, message, payload);
    };
    for (const peer of ['a', 'b', 'c']) server.send(peer, bytes(9));
    await Promise.resolve();
    expect(gone.map(([peer, reason]) => `${peer}: ${reason}`)).toEqual(
      ['a', 'b'].map((peer) => `${peer}: the connection of its host is lost: too large`),
    );
    expect(fake.envelopesTo('two')).toHaveLength(1);
  });

  it('tells of a worker that its agent closes, and of all whose agent is lost', () => {
    const { fake, server, gone } = opened();
    fake.from('agent', about('a', bytes(1)), about('b', bytes(1)), about('c', bytes(1)));
    fake.from('agent', about('b', undefined), about('never', undefined));
    expect(gone).toEqual([['b', 'its connection is closed']]);
    fake.lose('agent', 'its connection is closed');
    const reason = 'the connection of its host is lost: its connection is closed';
    expect(gone.slice(1)).toEqual([
      ['a', reason],
      ['c', reason],
    ]);
    // As to any peer that is gone.
    server.send('a', bytes(1));
    expect(fake.sent.at(-1)?.peer).toBe('a');
  });

  it('lets nobody speak for a worker of another connection', () => {
    const { fake, server, heard } = opened();
    fake.receive('direct', bytes(1));
    fake.from('agent', about('a', bytes(2)));
    fake.from('other', about('a', bytes(3)), about('direct', bytes(4)), about('direct', undefined));
    fake.receive('a', bytes(5));
    expect(heard.map(([peer, [first]]) => [peer, first])).toEqual([
      ['direct', 1],
      ['a', 2],
    ]);
    expect(server.dropped).toBe(3);
    // Once it is gone, the id is free.
    fake.lose('direct', 'gone');
    fake.from('other', about('direct', bytes(6)));
    expect(heard.at(-1)).toEqual(['direct', [6], undefined]);
  });

  it('hears what several workers report together, once, from their own agent alone', () => {
    const { fake, server, heard, together } = opened();
    fake.from('agent', about('a', bytes(1)), about('b', bytes(1)));
    fake.receive('direct', bytes(1));
    fake.from('agent', about(['b', 'a'], bytes(2)));
    // New workers of the agent, as they may come alone.
    fake.from('agent', about(['a', 'c'], bytes(3)));
    const expected = [
      [['b', 'a'], [2]],
      [['a', 'c'], [3]],
    ];
    expect(together).toEqual(expected);
    expect(heard).toHaveLength(3);
    fake.from('other', about('x', bytes(1)), about(['x', 'a'], bytes(4)));
    fake.from('agent', about(['a', 'direct'], bytes(4)), about(['a', 'x'], bytes(4)), about(['a', 'a'], bytes(4)));
    fake.from('agent', about(['a', 'b'], bytes(4), bytes(1)));
    expect(together).toEqual(expected);
    expect(server.dropped).toBe(5);
    // Nothing of a message that was dropped remains.
    fake.receive('direct', bytes(5));
    expect(heard.at(-1)).toEqual(['direct', [5], undefined]);
  });

  it('checks again who reports together when a worker has left', () => {
    const { fake, server, together } = opened();
    for (const value of [1, 2]) fake.from('agent', about(['a', 'b'], bytes(value)));
    expect(together.map(([, [value]]) => value)).toEqual([1, 2]);
    expect(together[0]?.[0]).toBe(together[1]?.[0]);
    fake.from('agent', about('b', undefined));
    fake.from('other', about('b', bytes(3)));
    fake.from('agent', about(['a', 'b'], bytes(4)));
    fake.from('other', about(['a', 'b'], bytes(4)));
    expect(together).toHaveLength(2);
    expect(server.dropped).toBe(2);
  });

  it('has no more workers of a host than it may have', () => {
    const { fake, server, together } = opened();
    const names = Array.from({ length: 4_096 }, (_, i) => `w${i}`);
    fake.from('agent', about(names.slice(0, 4_095), bytes(1)));
    fake.from('agent', about(['v', 'w'], bytes(1)));
    expect(server.dropped).toBe(1);
    fake.from('agent', about(['w0', 'w4095'], bytes(1)));
    expect(together).toHaveLength(2);
  });

  it('closes no several connections with one message', () => {
    const { fake, gone } = opened();
    fake.from('agent', about('a', bytes(1)), about('b', bytes(1)));
    fake.from('agent', about(['a', 'b'], undefined));
    expect(gone).toEqual([]);
  });

  it('drops a malformed envelope', () => {
    const { fake, server, heard } = opened();
    fake.receive('agent', headed(0x01));
    expect(heard).toEqual([]);
    expect(server.dropped).toBe(1);
  });
});

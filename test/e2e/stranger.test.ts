/** Who knocks at the coordinator's port and is no worker of this run: gets an answer where there is one, and harms nobody. */
import { Packr } from 'msgpackr';
import { expect, it } from 'vitest';
import * as zmq from 'zeromq';
import { decodeCoordinatorMessage, protocolVersion } from '../../src/comm/protocol.ts';
import { set, start, tiny, useFolder } from './launch.ts';

const folder = useFolder();
const packr = new Packr({ useRecords: false });
const join = { type: 'join', version: '9.9.9', host: 'h', pid: 1, ringAddress: 'tcp://127.0.0.1:9' };

/** A run that waits for one more worker, and where it listens. */
async function waitingRun(runDir: string) {
  const args = ['--listen', 'tcp://127.0.0.1:0', '--workers', '1', '--min-workers', '2', '--run-dir', runDir];
  const running = start([...args, ...set(...tiny, 'train.maxSteps=3')], folder());
  const [, address = ''] = await running.printed(/launch join (\S+)/);
  return { running, address };
}

it('a worker of another protocol version is refused, whatever else its join says; the run waits on and trains', async () => {
  const { running, address } = await waitingRun('versions');
  for (const message of [
    { ...join, protocolVersion: 999 },
    { type: 'join', protocolVersion: 999, magic: [1, 2, 3] },
  ]) {
    const dealer = new zmq.Dealer({ routingId: `stranger-${Object.keys(message).length}`, linger: 0 });
    dealer.connect(address);
    await dealer.send(packr.pack(message));
    const [reply] = await dealer.receive();
    expect(decodeCoordinatorMessage(reply!)).toEqual({
      type: 'refused',
      reason: expect.stringMatching(
        new RegExp(`speaks protocol version ${protocolVersion}, this worker 999 \\(lockstep (9\\.9\\.9|unknown)\\)`),
      ),
    });
    dealer.close();
  }
  // The coordinator has noticed that they left before a worker can join and train.
  await new Promise((resolve) => setTimeout(resolve, 500));
  const worker = start(['join', address], folder());
  expect(await worker.finished).toMatchObject({ code: 0, stderr: '' });
  expect(await running.finished).toMatchObject({ code: 0, stderr: '' });
});

it('nonsense at the port is ignored with a few warnings; the run waits on and trains', async () => {
  const { running, address } = await waitingRun('nonsense');
  const dealer = new zmq.Dealer({ routingId: 'nonsense', linger: 1_000 });
  dealer.connect(address);
  for (let i = 0; i < 200; i++)
    await dealer.send(i % 2 === 0 ? 'nonsense' : packr.pack({ type: 'stateChunk', step: -i }));
  await dealer.send([packr.pack({ type: 'heartbeat', step: 1, phase: 'all-reduce' }), Buffer.alloc(1 << 20)]);
  await dealer.send(['far', 'too', 'many', 'frames']);
  dealer.close();
  await new Promise((resolve) => setTimeout(resolve, 500));
  const worker = start(['join', address], folder());
  expect(await worker.finished).toMatchObject({ code: 0 });
  const result = await running.finished;
  expect(result.code).toBe(0);
  expect(result.stderr).toMatch(/warning: ignored a message of nonsense, which is no worker of this run/);
  expect(result.stderr.split('\n').length).toBeLessThan(20);
});

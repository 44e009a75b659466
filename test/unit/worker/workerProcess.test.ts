import { EventEmitter } from 'node:events';
import { expect, it } from 'vitest';
import { leaveMessage } from '../../../src/worker/spawn.ts';
import { argumentsOf } from '../../../src/worker/workerProcess.ts';

it('hears the request to leave that is read together with the arguments', async () => {
  const channel = new EventEmitter();
  let requests = 0;
  const received = argumentsOf(channel, () => {
    requests++;
  });
  const options = { id: 'w0' };
  channel.emit('message', options);
  channel.emit('message', leaveMessage);
  expect(requests).toBe(1);
  channel.emit('message', { host: 'opened', peer: 'w0' });
  expect(await received).toBe(options);
  expect(requests).toBe(1);
});

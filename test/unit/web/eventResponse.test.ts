/** Server-sent events to clients that read, and to one that stops. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { EventResponse } from '../../../src/web/eventResponse.ts';

let server: Server;
afterEach(() => {
  server.close();
  server.closeAllConnections();
});

async function open(listener: (events: EventResponse) => void, times: { quietMs?: number; unreadMs?: number }) {
  const failures: unknown[] = [];
  const closed = new Promise<void>((resolve) => {
    server = createServer((_, response) => {
      response.on('error', (error) => failures.push(error)).on('close', resolve);
      listener(new EventResponse(response, times));
    });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return { port: (server.address() as AddressInfo).port, failures, closed };
}

it('a client that reads nothing of an answer that has ended is cut off, and nothing is written after the end', async () => {
  let told: EventResponse;
  const times = { quietMs: 1, unreadMs: 200 };
  const { port, failures, closed } = await open((events) => {
    told = events;
    // More than the sockets of both sides hold.
    events.send('x'.repeat(2 ** 26));
    events.end();
    expect(events.send('late')).toBe(false);
  }, times);
  const client = connect(port, '127.0.0.1').pause();
  client.on('error', () => undefined);
  await once(client, 'connect');
  client.write('GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n');
  await closed;
  expect(failures).toEqual([]);
  expect(told!.send('later')).toBe(false);
  client.destroy();
});

it('a quiet connection gets comments until its end, and all of a long answer', async () => {
  const long = 'x'.repeat(2 ** 22);
  const { port } = await open(
    (events) => {
      setTimeout(() => {
        events.send(long);
        events.end();
      }, 50);
    },
    { quietMs: 1 },
  );
  const text = await (await fetch(`http://127.0.0.1:${port}/`)).text();
  expect(text).toMatch(/^(:\n\n)+data: x/);
  expect(text.replace(/^(:\n\n)+/, '')).toBe(`data: ${long}\n\n`);
});

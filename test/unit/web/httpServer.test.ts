/** Several requests on one connection, and what their handlers learn when the client disconnects. */
import { once } from 'node:events';
import { Agent, get, type IncomingMessage } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { disconnect } from '../../../src/web/eventResponse.ts';
import { type Exchange, HttpServer, send } from '../../../src/web/httpServer.ts';

let server: HttpServer | undefined;
afterEach(async () => {
  await server?.close();
  server = undefined;
});

async function open(handle: (exchange: Exchange) => void): Promise<number> {
  server = new HttpServer({
    routes: [{ method: 'GET', path: '/*', handle }],
    headers: {},
    admit: () => undefined,
    refusal: ({ message }) => ({ type: 'text/plain', body: message }),
    failure: (error) => {
      throw error;
    },
  });
  await once(server.server.listen(0, '127.0.0.1'), 'listening');
  return (server.server.address() as AddressInfo).port;
}

function pipeline(port: number, paths: readonly string[]): Socket {
  const client = connect(port, '127.0.0.1');
  client.on('error', () => undefined);
  client.write(paths.map((path) => `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`).join(''));
  return client;
}

it('tells each handler once that the client has disconnected, also of responses that wait behind another', async () => {
  const closed: string[] = [];
  let client: Socket | undefined;
  const all = new Promise<void>((resolve) => {
    void open(({ path, response }) => {
      response.on('close', () => {
        closed.push(path);
        expect(response.destroyed).toBe(true);
        if (closed.length === 4) resolve();
      });
      if (path === '/answered') send(response, { type: 'text/plain', body: 'x' });
      if (path === '/third') client?.destroy();
    }).then((port) => {
      client = pipeline(port, ['/answered', '/first', '/second', '/third']);
    });
  });
  await all;
  await server?.close();
  expect(closed.sort()).toEqual(['/answered', '/first', '/second', '/third']);
});

it('closes a connection whose waiting response is given up', async () => {
  const port = await open(({ path, response }) => {
    if (path === '/second') disconnect(response);
  });
  await once(pipeline(port, ['/first', '/second']), 'close');
});

it('answers requests that come at once in their order, and one after another on a connection that stays open', async () => {
  const ports = new Set<number | undefined>();
  let first: Exchange | undefined;
  const port = await open((exchange) => {
    ports.add(exchange.request.socket.remotePort);
    const { path, response } = exchange;
    if (path === '/slow') first = exchange;
    else send(response, { type: 'text/plain', body: path });
    if (path === '/quick') send(first!.response, { type: 'text/plain', body: '/slow' });
  });
  const client = pipeline(port, ['/slow', '/quick']);
  let text = '';
  for await (const bytes of client) {
    text += String(bytes);
    if (text.endsWith('/quick')) break;
  }
  expect(text).toMatch(/^HTTP.*\r\n\r\n\/slowHTTP.*\r\n\r\n\/quick$/s);
  ports.clear();
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  for (const path of ['/a', '/b', '/c']) {
    const [answer] = (await once(get({ host: '127.0.0.1', port, path, agent }), 'response')) as [IncomingMessage];
    expect((await answer.toArray()).join('')).toBe(path);
  }
  expect(ports.size).toBe(1);
  agent.destroy();
});

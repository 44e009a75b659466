/** A process that has used the links ends by itself: nothing of them holds the event loop. Needs dist/. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const dist = new URL('../../dist/comm/', import.meta.url).href;

const script = (encrypted: boolean) => `
import { newRunKeys } from '${dist}runKeys.js';
import { zmqTransport } from '${dist}zmqLink.js';
const transport = zmqTransport(${encrypted ? '{ keys: newRunKeys() }' : ''});
for (let i = 0; i < 50; i++) {
  const server = await transport.listen('tcp://127.0.0.1:0');
  const client = await transport.connect(server.address, 'w');
  const [a, b] = [await transport.openRing('127.0.0.1'), await transport.openRing('127.0.0.1')];
  server.onMessage(() => {});
  client.onMessage(() => {});
  const arrived = new Promise((resolve) => b.onFrame(() => void resolve()));
  a.connect(b.address, b.address);
  b.connect(a.address, a.address);
  a.send(new Uint8Array(28), new Uint8Array(1000));
  await arrived;
  b.connect(b.address.replace(/:\\d+/, ':9'), a.address); // nobody: what is sent stays queued
  for (const link of [a, b]) link.send(new Uint8Array(28), new Uint8Array(1 << 20));
  client.send(new Uint8Array(5), new Uint8Array(1 << 20));
  await Promise.all([client, server, a, b].map((link) => link.close()));
}
process.stdout.write('closed');
`;

it.each([
  ['plain', false],
  ['encrypted', true],
])('50 cycles of every link, with messages left unsent, then the process ends: %s', async (_, encrypted) => {
  const { stdout, stderr } = await promisify(execFile)(
    process.execPath,
    ['--input-type=module', '-e', script(encrypted)],
    { timeout: 60_000 },
  );
  expect({ stdout, stderr }).toEqual({ stdout: 'closed', stderr: '' });
});

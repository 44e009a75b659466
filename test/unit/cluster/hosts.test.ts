import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { UserError } from '../../../src/base/errors.ts';
import { nameOfThisMachine, parseHostFile, parseHosts } from '../../../src/cluster/hosts.ts';
import { remoteCommand } from '../../../src/cluster/sshWorkers.ts';

it('hosts have workers, users and IPv6 addresses', () => {
  expect(parseHosts('a:2, me@b.example.org,[fd00::1]:3')).toEqual([
    { host: 'a', target: 'a', workers: 2 },
    { host: 'b.example.org', target: 'me@b.example.org', workers: 1 },
    { host: 'fd00::1', target: 'fd00::1', workers: 3 },
  ]);
});

it.each([
  ['-oProxyCommand=x', 'expected HOST:WORKERS'],
  ['a@-b', 'expected HOST:WORKERS'],
  ['a:0', 'expected HOST:WORKERS'],
  ['a,,b', 'received ""'],
  ['a;x', 'expected HOST:WORKERS'],
  ['a:1,a:2', 'a is listed twice'],
])('refuses --hosts %s', (text, problem) => expect(() => parseHosts(text)).toThrow(problem));

it('a host file has a host per line, as for Open MPI and DeepSpeed', () => {
  expect(
    parseHostFile('# ours\na slots=2\nb:3 # new\n\nc\n', 'hosts').map(({ host, workers }) => [host, workers]),
  ).toEqual([
    ['a', 2],
    ['b', 3],
    ['c', 1],
  ]);
  expect(() => parseHostFile('a\nb slot=2\n', 'hosts')).toThrow('hosts:2: expected HOST, HOST:WORKERS');
  expect(() => parseHostFile('# none\n', 'hosts')).toThrow('hosts: names no host');
});

it('the first host is this machine', async () => {
  const host = (name: string) => ({ host: name, target: name, workers: 1 });
  expect(await nameOfThisMachine(host('localhost'))).toBeUndefined();
  expect(await nameOfThisMachine(host(hostname()))).toBe(hostname());
  await expect(nameOfThisMachine(host('192.0.2.1'))).rejects.toThrow('is not this machine');
  // A mistyped name is the user's error, as the first host knows its own.
  await expect(nameOfThisMachine(host('nowhere.invalid'))).rejects.toThrow(UserError);
});

/** A folder with a `launch` that prints its words and its key, and runs until it is asked to leave. */
async function fakeLaunch(script: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "lockstep-it's-"));
  await writeFile(join(folder, 'launch'), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return folder;
}

it('the remote command reads the key from its input, and gives back the exit code', async () => {
  const folder = await fakeLaunch('printf "%s|" "$LOCKSTEP_JOIN_KEY" "$PWD" "$@"; exit 7');
  const command = remoteCommand(folder, ['join', 'tcp://a:1', 'it\'s "$HOME"']);
  const env = { PATH: `${folder}:${process.env['PATH']}` };
  const child = spawn('sh', ['-c', command], { env, stdio: ['pipe', 'pipe', 'inherit'] });
  let stdout = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stdin.write('{"k":1}\nrest');
  expect((await once(child, 'close'))[0]).toBe(7);
  expect(stdout.split('|')).toEqual(['{"k":1}', folder, 'join', 'tcp://a:1', 'it\'s "$HOME"', '']);
  await rm(folder, { recursive: true });
});

it('the remote command asks the workers to leave when its input ends', async () => {
  const folder = await fakeLaunch('trap "exit 9" TERM; echo ready; while :; do sleep 0.02; done');
  const env = { PATH: `${folder}:${process.env['PATH']}` };
  const child = spawn('sh', ['-c', remoteCommand(folder, ['join'])], { env, stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.write('key\n');
  await once(child.stdout, 'data');
  child.stdin.end();
  expect((await once(child, 'close'))[0]).toBe(9);
  await rm(folder, { recursive: true });
});

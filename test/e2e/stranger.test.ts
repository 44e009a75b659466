/** Connections to the coordinator's port that are not from a worker of this run: they get an answer where one exists, and harm nobody. */
import { chmod, copyFile, readFile, rm, writeFile } from 'node:fs/promises';
import { join as joinPath } from 'node:path';
import { Packr } from 'msgpackr';
import { expect, it } from 'vitest';
import * as zmq from 'zeromq';
import { decodeCoordinatorMessage, protocolVersion } from '../../src/comm/protocol.ts';
import { newRunKeys, parseRunKeys, type RunKeys, renderRunKeys } from '../../src/comm/runKeys.ts';
import { launch, type Running, set, start, tiny, useFolder } from './launch.ts';

const folder = useFolder();
const packr = new Packr({ useRecords: false });
const join = {
  type: 'join',
  version: '9.9.9',
  host: 'h',
  pid: 1,
  worker: 'stranger',
  ringAddress: 'tcp://127.0.0.1:9',
};

/** A run that waits for one more worker, where it listens, and what one joins it with. */
async function waitingRun(runDir: string, ...flags: string[]) {
  const args = ['--listen', 'tcp://127.0.0.1:0', '--workers', '1', '--min-workers', '2', '--run-dir', runDir, ...flags];
  const running = start([...args, ...set(...tiny, 'train.maxSteps=3')], folder());
  const [, address = ''] = await running.printed(/launch join (\S+)/);
  const keyPath = joinPath(folder(), runDir, 'join.key');
  return { running, address, keyPath };
}

function dealer(routingId: string, address: string, keys: RunKeys | undefined): zmq.Dealer {
  const curve = keys && {
    curveServerKey: keys.serverPublicKey,
    curvePublicKey: keys.joinPublicKey,
    curveSecretKey: keys.joinSecretKey,
  };
  const socket = new zmq.Dealer({ routingId, linger: 1_000, ...curve });
  socket.connect(address);
  return socket;
}

/** The run is unharmed: a worker joins it, and it trains to its end. */
async function expectToTrain(running: Running, address: string, keyPath: string) {
  const worker = await launch(['join', address, '--key', keyPath], folder());
  expect(worker).toMatchObject({ code: 0, stderr: '' });
  const result = await running.finished;
  expect(result.code).toBe(0);
  return result;
}

it('a worker of another protocol version is refused, whatever else its join says; the run waits on and trains', async () => {
  const { running, address, keyPath } = await waitingRun('versions');
  const keys = parseRunKeys(await readFile(keyPath, 'utf8'));
  for (const message of [
    { ...join, protocolVersion: 999 },
    { type: 'join', protocolVersion: 999, magic: [1, 2, 3] },
  ]) {
    const stranger = dealer(`stranger-${Object.keys(message).length}`, address, keys);
    await stranger.send(packr.pack(message));
    const [reply] = await stranger.receive();
    expect(decodeCoordinatorMessage(reply!)).toEqual({
      type: 'refused',
      reason: expect.stringMatching(
        new RegExp(`speaks protocol version ${protocolVersion}, this worker 999 \\(lockstep (9\\.9\\.9|unknown)\\)`),
      ),
    });
    stranger.close();
  }
  // The coordinator has noticed that they left before a worker can join and train.
  await new Promise((resolve) => setTimeout(resolve, 500));
  expect(await expectToTrain(running, address, keyPath)).toMatchObject({ stderr: '' });
});

it('nonsense at the port is ignored with a few warnings; the run waits on and trains', async () => {
  const { running, address, keyPath } = await waitingRun('nonsense');
  const stranger = dealer('nonsense', address, parseRunKeys(await readFile(keyPath, 'utf8')));
  for (let i = 0; i < 200; i++)
    await stranger.send(i % 2 === 0 ? 'nonsense' : packr.pack({ type: 'stateChunk', step: -i }));
  await stranger.send([packr.pack({ type: 'heartbeat', step: 1, phase: 'all-reduce' }), Buffer.alloc(1 << 20)]);
  await stranger.send(['far', 'too', 'many', 'frames']);
  stranger.close();
  await new Promise((resolve) => setTimeout(resolve, 500));
  const result = await expectToTrain(running, address, keyPath);
  expect(result.stderr).toMatch(/warning: ignored a message of nonsense, which is not a worker of this run/);
  expect(result.stderr.split('\n').length).toBeLessThan(20);
});

it('a program without the keys of the run is not heard: one warning for each kind, and the run trains', async () => {
  const { running, address, keyPath } = await waitingRun('no keys');
  const keys = parseRunKeys(await readFile(keyPath, 'utf8'));
  const { joinPublicKey, joinSecretKey } = newRunKeys();
  const strangers = [undefined, newRunKeys(), { ...keys, joinPublicKey, joinSecretKey }].flatMap((given, i) =>
    Array.from({ length: 3 }, (_, n) => dealer(`stranger-${i}-${n}`, address, given)),
  );
  // Not awaited: a socket that was refused takes no more messages, so a later `send` of it would wait for ever.
  const sent = strangers.map(async (stranger) => {
    for (let i = 0; i < 50; i++) await stranger.send(packr.pack({ ...join, protocolVersion: 999 }));
  });
  const answers = strangers.map((stranger) => stranger.receive());
  const first = Promise.race(answers.map((answer) => answer.then(() => 'answered')));
  const silence = new Promise((resolve) => setTimeout(() => resolve('silence'), 1_000));
  expect(await Promise.race([first, silence])).toBe('silence');
  for (const stranger of strangers) stranger.close();
  await Promise.allSettled([...sent, ...answers]);

  const { stderr } = await expectToTrain(running, address, keyPath);
  // Both sides of an unencrypted connection see the mismatch; if the stranger is quicker, its hanging up is all that is seen.
  expect(stderr).toMatch(
    /refused a connection .*(one side encrypts and the other does not|in the middle of the handshake)/,
  );
  for (const cause of [
    /refused a connection .*the keys of another run/g,
    /refused a connection from 127\.0\.0\.1 .*has not the one for joining/g,
  ]) {
    expect(stderr.match(cause), String(cause)).toHaveLength(1);
  }
  expect(stderr).not.toMatch(/ignored a message/);
});

it('a worker with the right keys and another token, or none, is refused; the run trains', async () => {
  const { running, address, keyPath } = await waitingRun('token');
  const keys = parseRunKeys(await readFile(keyPath, 'utf8'));
  const wrong = joinPath(folder(), 'wrong-token.key');
  await writeFile(wrong, renderRunKeys({ ...keys, token: '0'.repeat(64) }), { mode: 0o600 });
  const late = await launch(['join', address, '--key', wrong], folder());
  expect(late).toMatchObject({ code: 2, orphans: [] });
  expect(late.stderr).toMatch(/refused this worker: expected the token of this run, received another/);
  const stranger = dealer('no-token', address, keys);
  await stranger.send(packr.pack({ ...join, protocolVersion }));
  const [reply] = await stranger.receive();
  expect(decodeCoordinatorMessage(reply!)).toMatchObject({
    type: 'refused',
    reason: expect.stringContaining('received none'),
  });
  stranger.close();
  await new Promise((resolve) => setTimeout(resolve, 500));
  const { stderr } = await expectToTrain(running, address, keyPath);
  expect(stderr.match(/warning: refused .* which asked to join/g)).toHaveLength(2);
  for (const secret of Object.values(keys)) expect(stderr + late.stderr).not.toContain(secret);
});

it('launch join says what is wrong with its keys, and takes them from the environment', async () => {
  const { running, address, keyPath } = await waitingRun('join keys');
  const join = (...args: string[]) => launch(['join', address, ...args], folder());
  const copy = joinPath(folder(), 'copied.key');
  await copyFile(keyPath, copy);
  await chmod(copy, 0o644);
  const other = joinPath(folder(), 'other.key');
  await writeFile(other, renderRunKeys(newRunKeys()), { mode: 0o600 });
  const damaged = joinPath(folder(), 'damaged.key');
  await writeFile(damaged, (await readFile(keyPath, 'utf8')).slice(0, 200), { mode: 0o600 });
  for (const [args, message] of [
    [[], /expects the key of its run: name the join\.key/],
    [['--key', copy], /open to other users \(mode 644\): chmod 600/],
    [['--key', other], /does not know this key: is it the join\.key of the same run\?/],
    [['--key', damaged], /damaged\.key: expected the keys of a run/],
    [['--key', 'absent.key'], /there is no file absent\.key: copy join\.key from the run directory/],
  ] as [string[], RegExp][]) {
    const startMs = performance.now();
    const result = await join(...args);
    expect(result).toMatchObject({ code: 2, orphans: [] });
    expect(result.stderr).toMatch(message);
    expect(performance.now() - startMs).toBeLessThan(9_000);
  }
  const environment = { LOCKSTEP_JOIN_KEY: await readFile(keyPath, 'utf8') };
  const worker = start(['join', address], folder(), environment);
  expect(await worker.finished).toMatchObject({ code: 0, stderr: '' });
  expect((await running.finished).code).toBe(0);
});

it('a resumed run keeps its keys, where others cannot read them', async () => {
  const { running, address, keyPath } = await waitingRun('kept keys');
  const copied = joinPath(folder(), 'kept.key');
  await copyFile(keyPath, copied);
  await expectToTrain(running, address, keyPath);
  const args = ['--resume', 'kept keys', '--min-workers', '2', ...set('train.workers=1', 'train.maxSteps=6')];
  const runKey = joinPath(folder(), 'kept keys', 'run.key');
  await chmod(runKey, 0o644);
  const open = await launch(args, folder());
  expect(open.code).toBe(2);
  expect(open.stderr).toMatch(/kept keys\/run\.key is open to other users \(mode 644\): chmod 600/);
  await chmod(runKey, 0o600);
  await rm(keyPath);
  const resumed = start(args, folder());
  const [, again = ''] = await resumed.printed(/launch join (\S+)/);
  await expectToTrain(resumed, again, copied);
  expect(await readFile(keyPath, 'utf8')).toBe(await readFile(copied, 'utf8'));
});

it('no secret is in the arguments of a process or in what a run prints', async () => {
  const { running, address, keyPath } = await waitingRun('arguments');
  const keys = parseRunKeys(await readFile(joinPath(folder(), 'arguments', 'run.key'), 'utf8'));
  const environment = { LOCKSTEP_JOIN_KEY: await readFile(keyPath, 'utf8') };
  const pids = [running.process.pid, ...(await running.descendants())];
  const worker = start(['join', address], folder(), environment);
  pids.push(worker.process.pid);
  const shown = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8')));
  expect(shown.join()).toContain('local-0000');
  const outputs = await Promise.all([worker.finished, running.finished]);
  const printed = [...shown, ...outputs.flatMap(({ stdout, stderr }) => [stdout, stderr])].join();
  for (const [name, value] of Object.entries(keys)) expect(printed.includes(value), name).toBe(false);
});

it('without encryption it listens on this machine alone', async () => {
  for (const address of ['tcp://0.0.0.0:0', 'tcp://*:0']) {
    const refused = await launch(['--no-encrypt', '--listen', address, ...set(...tiny)], folder());
    expect(refused.code).toBe(2);
    expect(refused.stderr).toMatch(/--no-encrypt is allowed on this machine only, but other machines can reach tcp:/);
  }
  const { running, address } = await waitingRun('plain', '--no-encrypt');
  const worker = await launch(['join', address], folder());
  expect(worker).toMatchObject({ code: 0, stderr: '' });
  expect(await running.finished).toMatchObject({ code: 0, stderr: '' });
});

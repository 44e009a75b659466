import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import { expect, it } from 'vitest';
import { fateOf, fateOfWord, isAlive, processOf, processWord } from '../../../src/base/processes.ts';

it('a process lives until it ends', async () => {
  expect(isAlive(process.pid)).toBe(true);
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)']);
  expect(isAlive(child.pid!)).toBe(true);
  child.kill('SIGKILL');
  await once(child, 'exit');
  expect(isAlive(child.pid!)).toBe(false);
  expect(isAlive(spawnSync('true').pid)).toBe(false);
});

it.skipIf(process.platform !== 'linux')('one that nobody has waited for does not live', async () => {
  // The shell becomes a process that never asks for the exit code of the child that the shell had; only then the child ends.
  const script = 'cat <&3 >/dev/null & echo $!; exec sleep 60 3<&-';
  const parent = spawn('sh', ['-c', script], { stdio: ['ignore', 'pipe', 'ignore', 'pipe'] });
  try {
    const [line] = await once(parent.stdout!, 'data');
    const pid = Number(String(line).trim());
    const of = (id: number | undefined, file: string) => readFile(`/proc/${id}/${file}`, 'latin1');
    await until(async () => (await of(parent.pid, 'comm')) === 'sleep\n');
    expect(isAlive(pid)).toBe(true);
    (parent.stdio[3] as Writable).end();
    await until(async () => / ([A-Z]) /.exec((await of(pid, 'stat')).replace(/.*\)/, ''))?.[1] === 'Z');
    expect(isAlive(pid)).toBe(false);
  } finally {
    parent.kill('SIGKILL');
    await once(parent, 'exit');
  }
});

it('of one that the system hides nobody knows whether it is the one that was meant', () => {
  const other = processOf(process.ppid);
  expect([fateOf(other), fateOfWord(other.pid, processWord(other.pid))]).toEqual(['alive', 'alive']);
  expect([fateOf({ ...other, startTime: '1' }), fateOfWord(other.pid, '01234567')]).toEqual(['gone', 'gone']);
  const hidden = () => '';
  expect([fateOf(other, hidden), fateOfWord(other.pid, processWord(other.pid), hidden)]).toEqual([
    'unknown',
    'unknown',
  ]);
  const { pid: dead } = spawnSync('true');
  expect([fateOf(processOf(dead), hidden), fateOfWord(dead, processWord(dead), hidden)]).toEqual(['gone', 'gone']);
});

async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 5));
}

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { isAlive } from '../../../src/base/processes.ts';

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
  // The shell is replaced by a process that never asks for the exit code of the child that the shell had.
  const parent = spawn('sh', ['-c', 'sleep 0 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'ignore'] });
  const [line] = await once(parent.stdout, 'data');
  const pid = Number(String(line).trim());
  const state = async () => / ([A-Z]) /.exec((await readFile(`/proc/${pid}/stat`, 'latin1')).replace(/.*\)/, ''))?.[1];
  while ((await state()) !== 'Z') await new Promise((resolve) => setTimeout(resolve, 5));
  expect(isAlive(pid)).toBe(false);
  parent.kill('SIGKILL');
  await once(parent, 'exit');
});

/** `npm run bench -- engine` that is interrupted while it compiles the programs it compares with. */
import { existsSync } from 'node:fs';
import { chmod, mkdir, readdir, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { expect, it, vi } from 'vitest';
import { bench, startProgram, useFolder } from './launch.ts';

const folder = useFolder();

it.each(['SIGINT', 'SIGTERM'] as const)('%s leaves no temporary folder and no compiler', async (signal) => {
  const cwd = join(folder(), signal);
  const tools = join(folder(), `tools-${signal}`);
  const called = join(tools, 'called');
  await Promise.all([mkdir(cwd), mkdir(tools)]);
  await writeFile(join(tools, 'c++'), `#!/bin/sh\n: > '${called}'\nexec sleep 60\n`);
  await chmod(join(tools, 'c++'), 0o755);

  const running = startProgram([...bench, 'engine'], cwd, { PATH: `${tools}${delimiter}${process.env['PATH']}` });
  await vi.waitUntil(() => existsSync(called), { timeout: 20_000 });
  expect(await readdir(cwd)).toEqual([expect.stringMatching(/^lockstep-peers-/)]);
  running.process.kill(signal);
  await running.finished;
  expect(running.process.signalCode).toBe(signal);
  expect(await readdir(cwd)).toEqual([]);
  await vi.waitUntil(async () => (await running.descendants()).length === 0, { timeout: 5_000 });
});

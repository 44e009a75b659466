/** Several processes find the lock that a killed one left, all at once: one of them gets it. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, it } from 'vitest';
import { processOf } from '../../src/base/processes.ts';
import { useFolder } from '../e2e/launch.ts';

const folder = useFolder();
const script = fileURLToPath(new URL('./lockRacer.mjs', import.meta.url));
const started: ChildProcess[] = [];

afterEach(() => {
  for (const child of started.splice(0)) child.kill('SIGKILL');
});

it('of a stale lock', async () => {
  const { pid: dead } = spawnSync('true');
  const paths = Array.from({ length: 200 }, (_, i) => join(folder(), `${i}.lock`));
  for (const path of paths) await writeFile(path, `${JSON.stringify({ ...processOf(dead), claim: 'x' })}\n`);
  const startMs = String(Date.now() + 1_000);
  const claims = await Promise.all(
    [0, 1, 2].map(async () => {
      const child = spawn(process.execPath, [script, startMs, ...paths], { stdio: ['ignore', 'pipe', 'inherit'] });
      started.push(child);
      let stdout = '';
      for await (const chunk of child.stdout) {
        stdout += chunk;
        if (stdout.endsWith('done\n')) break;
      }
      return stdout.split('\n').filter((line) => line.endsWith('.lock'));
    }),
  );
  expect(claims.flat().sort()).toEqual([...paths].sort());
  expect((await readdir(folder())).length).toBe(paths.length);
});

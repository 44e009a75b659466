/** `npm run bench -- protocol`: what it reports, and that nothing is left of its runs. */
import { existsSync, readdirSync } from 'node:fs';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it, vi } from 'vitest';
import type { PretendReport } from '../../bench/protocol/pretend/pretendBench.ts';
import type { ProtocolBenchReport } from '../../bench/protocol/protocolBench.ts';
import { isNightly } from '../skippedTests.ts';
import { bench, type Finished, startProgram, useFolder } from './launch.ts';

const folder = useFolder();

async function newFolder(name: string): Promise<string> {
  const cwd = join(folder(), name);
  await mkdir(cwd);
  return cwd;
}

async function toEnd(args: readonly string[], cwd: string): Promise<Finished & { orphans: number[] }> {
  const running = startProgram([...bench, 'protocol', ...args], cwd);
  const result = await running.finished;
  return { ...result, orphans: await running.descendants() };
}

it('reports every number of workers, encrypted and not, and leaves nothing behind', async () => {
  const cwd = await newFolder('json');
  const counts = isNightly ? [1, 3] : [3];
  const { code, stdout, stderr, orphans } = await toEnd(['--workers', counts.join(), '--steps', '20', '--json'], cwd);
  expect(stderr.replaceAll(/^timing the protocol: .*\n/gm, '')).toBe('');
  expect(code).toBe(0);
  const report = JSON.parse(stdout) as ProtocolBenchReport;
  expect(report).toMatchObject({ steps: 20, engine: expect.stringMatching(/native|tfjs/) });
  expect(report.results.map(({ workers, encrypted }) => [workers, encrypted])).toEqual(
    counts.flatMap((workers) => [
      [workers, true],
      [workers, false],
    ]),
  );
  for (const result of report.results) {
    const { name, workers, encrypted, ...times } = result;
    expect(name).toBe('protocol');
    for (const [what, value] of Object.entries(times)) expect(value, what).toBeGreaterThan(0);
    expect(times.commitP95Ms).toBeGreaterThanOrEqual(times.commitMedianMs);
    expect(times.stepP95Ms).toBeGreaterThanOrEqual(times.stepMedianMs);
    expect(times.heartbeatsPerSecond).toBe(workers);
    const heartbeats = (times.heartbeatsPerSecond * times.stepMedianMs * times.heartbeatCpuMs) / 1_000;
    expect(times.heartbeatMsPerStep).toBeCloseTo(heartbeats, 9);
    expect(times.protocolMsPerStep).toBeCloseTo(times.commitMedianMs + heartbeats, 9);
  }
  const { protocolMsPerStep } = report.results.at(-2)!;
  expect(report.bound).toEqual({ ms: 1, workers: 3, protocolMsPerStep, met: protocolMsPerStep <= 1 });
  expect(orphans).toEqual([]);
  expect(await readdir(cwd)).toEqual([]);
});

it('prints a row for each, and whether the bound is met', async () => {
  const cwd = await newFolder('table');
  const { code, stdout } = await toEnd(['--workers', '1', '--steps', '1'], cwd);
  expect(code).toBe(0);
  const [head, , heading, ...rows] = stdout.trimEnd().split('\n');
  expect(head).toMatch(/^control protocol, \d+ cores, 1 steps of a model/);
  expect(heading).toMatch(/^workers {2}sockets .*commit ms/);
  expect(rows.slice(0, 2)).toEqual([
    expect.stringMatching(/^ +1 {2}encrypted/),
    expect.stringMatching(/^ +1 {2}plain/),
  ]);
  expect(rows.at(-1)).toMatch(/^commit and heartbeats at 1 worker: \d+\.\d{3} ms a step; at most 1 ms: (not )?met$/);
});

it('measures what pretended workers cost, loses half of them at once, and leaves nothing behind', async () => {
  const cwd = await newFolder('pretend');
  const args = ['--pretend', '6', '--steps', '3', '--tokens', '8', '--state-mb', '0.1', '--json'];
  const { code, stdout, stderr, orphans } = await toEnd(args, cwd);
  expect(stderr).toBe('');
  expect(code).toBe(0);
  const { results, resume } = JSON.parse(stdout) as PretendReport;
  expect(results).toHaveLength(1);
  for (const [what, value] of Object.entries(results[0]!)) expect(value, what).toBeGreaterThan(0);
  expect(results[0]).toMatchObject({ workers: 6, lost: 3 });
  // The workers of each process share an agent: one envelope has the commit and the samples of all.
  expect(results[0]!.messages).toBeGreaterThanOrEqual(2);
  expect(results[0]!.messages).toBeLessThan(6);
  expect(resume.workers).toBe(6);
  expect(resume.stateBytes).toBeGreaterThanOrEqual(1e5);
  expect(resume.sentBytes).toBeGreaterThan(resume.stateBytes);
  expect(orphans).toEqual([]);
  expect(await readdir(cwd)).toEqual([]);
});

it.each(['SIGINT', 'SIGTERM'] as const)('%s while it times leaves no folder and no process', async (signal) => {
  const cwd = await newFolder(signal);
  const running = startProgram([...bench, 'protocol', '--workers', '2', '--steps', '1000000'], cwd);
  const isStepping = () => readdirSync(cwd).some((name) => existsSync(join(cwd, name, 'metrics.jsonl')));
  await vi.waitUntil(isStepping, { timeout: 20_000 });
  expect(await readdir(cwd)).toEqual([expect.stringMatching(/^lockstep-bench-/)]);
  await vi.waitUntil(async () => (await running.descendants()).length === 2, { timeout: 20_000 });
  running.process.kill(signal);
  await running.finished;
  expect(running.process.signalCode).toBe(signal);
  await vi.waitUntil(async () => (await running.descendants()).length === 0, { timeout: 5_000 });
  expect(await readdir(cwd)).toEqual([]);
});

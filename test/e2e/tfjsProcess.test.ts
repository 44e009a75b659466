/** The tfjs engine in a process of its own: threads, exit, and what reaches the console. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';

const ENGINE = new URL('../../dist/engine/registry.js', import.meta.url).href;

/** Each of three threads and the main one multiplies two matrices on its own engine and checks the product. */
const THREADS = `
  import { Worker, isMainThread } from 'node:worker_threads';
  import { createEngine } from '${ENGINE}';
  const device = process.argv[2];
  if (isMainThread) {
    const threads = [1, 2, 3].map(() => new Worker(new URL(import.meta.url), { argv: [device] }));
    await Promise.all(threads.map((thread) => new Promise((resolve, reject) => thread.on('exit', resolve).on('error', reject))));
  }
  const engine = await createEngine({ name: 'tfjs', deviceKind: device });
  const [inp, weight, out] = [engine.alloc([1, 2]), engine.alloc([2, 2]), engine.alloc([1, 2])];
  engine.upload(inp, Float32Array.of(1, 2));
  engine.upload(weight, Float32Array.of(3, 4, 5, 6));
  engine.linearForward({ out, inp, weight });
  const product = new Float32Array(2);
  await engine.download(out, product);
  if (product[0] !== 13 || product[1] !== 16) throw new Error('wrong product ' + product);
  await engine.dispose();
`;

/** A rejection that the program handles late must stay the program's own affair. */
const REJECTION = `
  import { createEngine } from '${ENGINE}';
  const engine = await createEngine({ name: 'tfjs', deviceKind: process.argv[2] });
  process.on('unhandledRejection', () => process.stdout.write('seen'));
  void Promise.reject(new Error('not of the engine'));
  await new Promise((resolve) => setTimeout(resolve, 20));
  await engine.dispose();
`;

async function runProgram(source: string, device: string) {
  const url = `data:text/javascript,${encodeURIComponent(source)}`;
  return promisify(execFile)(process.execPath, [
    '-e',
    `process.argv.splice(1, 0, ''); import(${JSON.stringify(url)})`,
    device,
  ]);
}

describe.each(['wasm', 'cpu'])('a process with tfjs on %s', (device) => {
  it('runs an engine in each of several threads, prints nothing and ends by itself', async () => {
    const { stdout, stderr } = await runProgram(THREADS, device);
    expect(stdout + stderr).toBe('');
  });

  it('keeps its own handling of rejected promises', async () => {
    const { stdout, stderr } = await runProgram(REJECTION, device);
    expect({ stdout, stderr }).toEqual({ stdout: 'seen', stderr: '' });
  });
});

/** The order in which a run starts: when it listens, and what it leaves if it cannot. */
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { executeRun } from '../../../src/run/executeRun.ts';
import type { RunMessages } from '../../../src/run/messages.ts';
import { prepareRun } from '../../../src/run/prepareRun.ts';
import { freePort } from '../../fixtures/freePort.ts';

let cwd: string;
beforeEach(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'lockstep-execute-'));
  const rows = Array.from({ length: 600 }, (_, i) => ({ prompt: `say ${i % 9}`, chosen: 'yes', rejected: 'no' }));
  await writeFile(join(cwd, 'rows.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
});
afterEach(() => rm(cwd, { recursive: true }));

const silent: RunMessages = { note: () => {}, warn: () => {}, progress: () => () => {} };
const dpo = [
  'task.kind=dpo',
  'task.template=plain',
  'train.globalBatchSize=2',
  'train.microBatchSize=1',
  'engine.name=native',
  'engine.threads=1',
  'model.nLayer=1',
  'model.nHead=1',
  'model.nEmbd=8',
  'model.blockSize=32',
  'data.examples=rows.jsonl',
  'data.valFraction=0',
  'eval.everySteps=0',
  'sample.maxTokens=0',
  'schedule.warmupSteps=0',
];

async function execute(listen: string, messages: RunMessages) {
  const options = { encrypt: false, singleProcess: false, listen };
  const run = await prepareRun({ ...options, dryRun: false, set: dpo, runDir: 'run' }, cwd, messages);
  const observe = async () => ({ listeners: [], started: () => {}, close: async () => {} });
  return executeRun({ ...options, run, maxRestarts: 0, messages, observe });
}

it('computes the reference of preferences before a worker can connect, who would wait for an answer', async () => {
  const port = await freePort();
  let tried: string | undefined;
  const messages: RunMessages = {
    ...silent,
    progress: (label) => {
      if (label !== 'reference log probabilities') return () => {};
      const socket = connect(port, '127.0.0.1', () => {
        tried = 'connected';
        socket.destroy();
      }).on('error', ({ message }) => {
        tried = message;
      });
      return () => {
        if (tried !== undefined) throw new Error(`a worker: ${tried}`);
      };
    },
  };
  const run = execute(`tcp://127.0.0.1:${port}`, messages);
  await expect(run).rejects.toThrow(/a worker: connect ECONNREFUSED/);
});

it('reports an address where nothing can listen before it computes the reference, and leaves no directory', async () => {
  const notes: string[] = [];
  const messages = { ...silent, note: (line: string) => void notes.push(line) };
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as { port: number };
  const run = execute(`tcp://127.0.0.1:${port}`, messages);
  await expect(run).rejects.toThrow(/the port is in use/);
  await new Promise((resolve) => server.close(resolve));
  expect(notes.join('\n')).not.toContain('reference');
  expect(existsSync(join(cwd, 'run'))).toBe(false);
});

/**
 * Run by journalKill.test.ts in a process of its own: commits steps as fast as it can and says each on standard output once
 * the journal has it, until it is
 * killed.
 * usage: node journalWriter.mjs JOURNAL COMPACT_ABOVE_BYTES
 */
import { writeSync } from 'node:fs';
import { Journal } from '../../dist/records/journal.js';

const [path, compactAboveBytes] = process.argv.slice(2);
const { journal } = Journal.open(path, () => process.exit(1), { compactAboveBytes: Number(compactAboveBytes) });
journal.append({ kind: 'run', format: 2, runId: 'r', address: 'tcp://127.0.0.1:1' });
journal.append({ kind: 'term', term: 1, step: 0, members: [{ worker: 'w0', host: 'h', pid: 1 }] });
for (let step = 1; ; step++) {
  const ranks = [{ rank: 0, sampleFrom: 0, sampleCount: 4 }];
  journal.append({ kind: 'commit', term: 1, step, loss: 1 / step, gradNorm: 1, tokens: step, lr: 1e-3, ranks });
  writeSync(1, `${step}\n`);
  await new Promise(setImmediate);
}

/** Rows are split at random, so a rare class may be among the rows that validate only. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { heldOut } from '../../../../src/data/examples/exampleOrder.ts';
import { prepareRun } from '../../../../src/run/prepareRun.ts';

it('a class whose only row is held out to validate is a class', async () => {
  const cwd = mkdtempSync(join(tmpdir(), 'lockstep-rare-'));
  onTestFinished(() => rmSync(cwd, { recursive: true }));
  const [count, seed] = [40, 7];
  const held = heldOut(count, 0.1, seed)[0];
  const rows = Array.from({ length: count }, (_, i) => {
    return { text: `text ${i}`, label: i === held ? 'rare' : i % 2 === 0 ? 'ham' : 'spam' };
  });
  writeFileSync(join(cwd, 'rows.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  const set = ['task.kind=classify', 'data.examples=rows.jsonl', 'data.tokenizer=byte', `train.seed=${seed}`];
  const messages = { note: () => {}, warn: () => {}, progress: () => () => {} };
  const run = await prepareRun({ encrypt: true, singleProcess: true, dryRun: true, set }, cwd, messages);
  expect(run.config.model).toMatchObject({ labels: ['ham', 'rare', 'spam'] });
});

/** A process that keeps a journal is killed with SIGKILL, at a moment that nobody chose: no step that it had committed is lost. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Journal } from '../../src/records/journal.ts';
import { temporaryFolder } from '../unit/checkpoint/tinyCheckpoint.ts';

const script = join(import.meta.dirname, 'journalWriter.mjs');

test.each([
  ['while it appends', 2 ** 20],
  ['while it writes the file anew for every few steps', 500],
])('killed %s', async (_, compactAboveBytes) => {
  for (const afterSteps of [1, 10, 100, 300, 301, 302, 303, 500]) {
    const path = join(temporaryFolder(), 'journal.jsonl');
    const writer = spawn(process.execPath, [script, path, `${compactAboveBytes}`]);
    let said = '';
    writer.stdout.setEncoding('utf8').on('data', (text: string) => {
      said += text;
      if (said.split('\n').length > afterSteps) writer.kill('SIGKILL');
    });
    const [, signal] = await once(writer, 'close');
    expect(signal).toBe('SIGKILL');
    const lastSaid = Number(said.trimEnd().split('\n').at(-1));
    const { recovered } = Journal.open(path, (message) => expect.fail(message));
    // The one after may have been committed and not said.
    expect([lastSaid, lastSaid + 1]).toContain(recovered?.step);
    expect(recovered?.commits.at(-1)).toMatchObject({ step: recovered?.step, loss: 1 / recovered!.step });
  }
});

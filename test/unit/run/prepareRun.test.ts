import { expect, it } from 'vitest';
import { configSchema } from '../../../src/config/schema.ts';
import { changedText, checkChanges, prepareRun } from '../../../src/run/prepareRun.ts';

function said(before: object, now: object): string {
  const notes: string[] = [];
  checkChanges(configSchema.parse(now), configSchema.parse(before), { note: (line) => notes.push(line) });
  return notes.join('\n');
}
const steps = (maxSteps: number, schedule: object = {}) => ({ train: { maxSteps }, schedule });

it('says that another last step changes the learning rate, and how to keep it', () => {
  expect(said(steps(1000), steps(2000))).toBe(
    'train.maxSteps was 1000 and is 2000: the learning rate falls until then (schedule.decaySteps is 0), so it changes from now on: ' +
      'at step 1000 it is 5.9e-4, not 1.0e-4; schedule.decaySteps=1000 keeps the former curve',
  );
});

it.each([
  ['the rate is constant', steps(1000, { kind: 'constant' }), steps(2000, { kind: 'constant' }), 'stays 0.001'],
  [
    'the curve ends by itself',
    steps(1000, { decaySteps: 900 }),
    steps(2000, { decaySteps: 900 }),
    'from step 900 on (schedule.decaySteps) the learning rate is 0.0001',
  ],
  ['the curve ends later', steps(1000, { decaySteps: 3000 }), steps(2000, { decaySteps: 3000 }), 'until step 3000'],
  ['the old curve is kept', steps(1000), steps(2000, { decaySteps: 1000 }), 'from step 1000 on'],
])('says of a run that is trained longer what the rate does where %s', (_, before, now, what) => {
  expect(said(before, now)).toContain(what);
});

it('says nothing where the last step is the same', () => {
  expect(said(steps(1000), steps(1000))).toBe('');
});

it('says that the precision changes', () => {
  expect(said({}, { engine: { precision: 'bf16' } })).toBe('engine.precision was float32 and is bf16 from now on');
});

it.each([
  ['resume beside initFrom', { resume: '', initFrom: 'gpt2' }, /omit config, runDir and initFrom/],
  [
    'two values of one key',
    { set: ['train.maxSteps=5', 'train.maxSteps=6'] },
    /overrides: train.maxSteps=5 and overrides: train.maxSteps=6 give/,
  ],
  [
    'a key beside its option',
    { set: ['train.workers=2'], workers: 3 },
    /overrides: train.workers=2 and workers 3 give train.workers two values/,
  ],
  [
    'a policy without weights, whose prompts do not fit into the context by default',
    { config: 'grpo', set: ['engine.name=native'] },
    /task\.kind: grpo is for trained weights, .* initFrom runs\/sft/,
  ],
  ['a text beside shards', { set: ['data.text=a.txt', 'data.shards=b'] }, /trains on one of them/],
])('refuses %s', async (_, args, message) => {
  const messages = { note: () => {}, warn: () => {}, progress: () => () => {} };
  await expect(
    prepareRun({ encrypt: true, singleProcess: true, dryRun: true, ...args }, '/', messages),
  ).rejects.toThrow(message);
});

it('names the setting that keeps line ends where the text had CRLF, which a run may have begun with', () => {
  expect(changedText('step-1', { kind: 'text', description: 'a.txt', normalised: 1200 })).toBe(
    'the text has changed since step-1 was written: it is now a.txt; set data.lineEndings=keep if the run started with CRLF in 1,200 line endings ' +
      'that are now LF, otherwise restore it, or start a new run',
  );
  expect(changedText('step-1', { kind: 'text', description: 'a.txt' })).toMatch(
    /a\.txt; restore it, or start a new run$/,
  );
});

it('refuses other weights for a run that is resumed', () => {
  expect(() => said({}, { model: { from: 'gpt2' } })).toThrow('a resumed run has its own weights');
});

import { expect, it } from 'vitest';
import { configSchema } from '../../../src/config/schema.ts';
import { checkChanges } from '../../../src/run/resumedConfig.ts';

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

it('refuses other weights for a run that is resumed', () => {
  expect(() => said({}, { model: { from: 'gpt2' } })).toThrow('a resumed run has its own weights');
});

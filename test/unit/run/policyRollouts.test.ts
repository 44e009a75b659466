/** Where a run that was ended by task.klMax continues. */
import { expect, it } from 'vitest';
import { UserError } from '../../../src/base/errors.ts';
import { parseConfig } from '../../../src/config/load.ts';
import type { Rollouts } from '../../../src/coordinator/rollouts/rollouts.ts';
import { policyPoint } from '../../../src/run/policyRollouts.ts';
import type { Run } from '../../../src/run/prepareRun.ts';
import type { ResumePoint } from '../../../src/run/resumePoint.ts';

const known = { iteration: 2, sha256: 'c'.repeat(64) };
/** Rollouts of an iteration of 4 steps, with a divergence of 0.6. */
const rollouts = {
  continued: () => known,
  startOf: (iteration: number) => 4 * (iteration - 1),
  klOf: () => 0.6,
} as unknown as Rollouts;

const before = ['task.klMax=0.5', 'task.beta=0.1', 'schedule.learningRate=0.01'];
const configOf = (overrides: readonly string[]) =>
  parseConfig({ text: '', name: 'my.yaml', overrides: [...overrides] });

/** A run that resumes from the checkpoint of `step`, with these keys. */
function resumed(step: number, ...changes: string[]) {
  const trainer = { step, config: configOf(before), data: { rollouts: known } };
  const store = { directory: '/checkpoints' };
  const run = { config: configOf([...before, ...changes]), resume: { trainer }, store, folder: {} };
  return policyPoint({ rollouts, reference: undefined }, run as unknown as Run, {
    point: undefined,
    messages: { warn: () => undefined },
  });
}

it.each([
  ['unchanged', []],
  ['with a smaller beta', ['task.beta=0.05']],
  ['with a larger limit that is still exceeded', ['task.klMax=0.55']],
])('it is refused %s', (_, changes) => {
  expect(() => resumed(4, ...changes)).toThrow(UserError);
  expect(() => resumed(4, ...changes)).toThrow(
    /the reference is 0.600 in iteration 2, above task.klMax \(0.55?\). Resume with a larger task.beta/,
  );
});

it.each([
  ['with a larger beta', ['task.beta=0.2']],
  ['with a lower learning rate', ['schedule.learningRate=0.005']],
  ['with a larger limit', ['task.klMax=0.7']],
  ['without a limit', ['task.klMax=0']],
])('it continues %s', (_, changes) => {
  expect(resumed(4, ...changes)).toEqual({ known, point: undefined });
});

it('it is refused where workers wait, also if the run has no checkpoint yet', () => {
  const point = { resumed: { step: 4, rollouts: known } } as unknown as ResumePoint;
  const waiting = (...changes: string[]) => {
    const [config, beforeResume] = [[...before, ...changes], before].map(configOf);
    const run = {
      config,
      before: beforeResume,
      resume: undefined,
      store: { directory: '/checkpoints' },
      folder: { journalPath: 'journal' },
    };
    const messages = { warn: () => undefined };
    return policyPoint({ rollouts, reference: undefined }, run as unknown as Run, { point, messages });
  };
  expect(() => waiting()).toThrow(/the reference is 0.600 in iteration 2, above task.klMax/);
  expect(waiting('task.beta=0.2').point).toEqual(point);
});

it('it continues within an iteration, which has begun', () => {
  expect(resumed(5)).toEqual({ known, point: undefined });
});

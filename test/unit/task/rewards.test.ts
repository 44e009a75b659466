/** Rewards that can be checked, and where other rewards come from. */
import { describe, expect, it } from 'vitest';
import { type Completion, regexReward, rewardSource } from '../../../src/task/rewards.ts';

const completion: Completion = { text: ' 42 ', ended: true, expected: '42', at: 'rows.jsonl:3' };

function reward(source: string, changes: Partial<Completion> = {}): number {
  const found = rewardSource(source);
  if (found.kind !== 'check') throw new Error(`${source} is not a check`);
  return found.check({ ...completion, ...changes });
}

describe('rewards', () => {
  it('match wants the answer of the row and its end', () => {
    expect(reward('match')).toBe(1);
    expect(reward('match', { ended: false })).toBe(0);
    expect(reward('match', { text: '42!' })).toBe(0);
  });

  it('contains wants the answer anywhere', () => {
    expect(reward('contains', { text: 'It is 42, I think', ended: false })).toBe(1);
    expect(reward('contains', { text: 'It is 43' })).toBe(0);
  });

  it('regex wants a match, which is not looked for here', () => {
    expect(rewardSource('regex:^\\d+$')).toEqual({ kind: 'regex', pattern: '^\\d+$' });
    expect(regexReward('^\\s*\\d+\\s*$')(' 42 ')).toBe(1);
    expect(regexReward('^\\d+$')('forty-two')).toBe(0);
  });

  it.each(['match', 'contains'])('%s names a row without an answer', (source) => {
    expect(() => reward(source, { expected: undefined })).toThrow(
      `rows.jsonl:3: the row has no answer, which the reward ${source} compares with`,
    );
  });

  it('names a pattern that is not one', () => {
    expect(() => rewardSource('regex:(')).toThrow('task.reward: Invalid regular expression');
  });

  it('takes anything else as a path', () => {
    expect(rewardSource('./reward.mjs')).toEqual({ kind: 'module', path: './reward.mjs' });
    expect(rewardSource('runs/reward')).toEqual({ kind: 'model', path: 'runs/reward' });
    expect(rewardSource('constructor')).toEqual({ kind: 'model', path: 'constructor' });
  });
});

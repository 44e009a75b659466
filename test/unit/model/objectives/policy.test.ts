/** The losses of one token of a policy, and where their gradients end. */
import { describe, expect, it } from 'vitest';
import { createEngine } from '../../../../src/engine/registry.ts';
import { grpo, ppo, tokenLoss, valueLoss } from '../../../../src/model/objectives/policy.ts';
import { Trainer } from '../../../../src/model/training.ts';
import { tinyConfig } from '../../../parity/model/tinyModels.ts';

const step = 1e-6;
const keys = { clip: 0.2, beta: 0.3, valueClip: 0.2, valueCoefficient: 0.5 };

describe('the loss of a token', () => {
  const advantages = [1.5, -0.7, 0];
  const moves = [-0.5, -0.1, 0, 0.1, 0.5];
  const cases = advantages.flatMap((advantage) => moves.map((move) => ({ advantage, move })));

  it.each(cases)('has the slope of finite differences: advantage $advantage, moved by $move', ({ advantage, move }) => {
    const numbers = { old: -1.2, reference: -0.9, advantage };
    const at = (logprob: number) => tokenLoss({ ...numbers, logprob }, keys);
    const logprob = numbers.old + move;
    const difference = (at(logprob + step).loss - at(logprob - step).loss) / (2 * step);
    expect(Math.abs(at(logprob).slope - difference)).toBeLessThan(1e-8);
  });

  it('is clipped in the direction of its advantage only', () => {
    const clippedAt = (advantage: number, ratio: number) =>
      tokenLoss({ logprob: Math.log(ratio) - 1, old: -1, reference: -1, advantage }, { clip: 0.2, beta: 0 }).isClipped;
    expect([clippedAt(1, 1.3), clippedAt(1, 0.7), clippedAt(-1, 1.3), clippedAt(-1, 0.7)]).toEqual([
      true,
      false,
      false,
      true,
    ]);
  });

  it('without β does not depend on the reference, however far away it is', () => {
    const numbers = { logprob: -900, old: -900, advantage: 1 };
    const at = (reference: number) => tokenLoss({ ...numbers, reference }, { clip: 0.2, beta: 0 });
    expect(at(-1)).toEqual({ loss: -1, slope: -1, ratio: 1, isClipped: false });
    expect(at(-1e30)).toEqual(at(-1));
    const raised = tokenLoss({ ...numbers, logprob: -1, reference: -1 }, { clip: 0.2, beta: 0 });
    expect(raised).toMatchObject({ loss: -1.2, slope: 0, isClipped: true });
  });

  it('with β is finite for a reference that is far away', () => {
    const { loss, slope } = tokenLoss({ logprob: -900, old: -900, reference: -1, advantage: 1 }, keys);
    expect([Number.isFinite(loss), slope]).toEqual([true, -1 + keys.beta * -899]);
  });

  it.each([-0.5, -0.1, 0.1, 0.5])('of a value has the slope of finite differences: moved by %d', (move) => {
    for (const target of [-1, 0.05, 1]) {
      const at = (value: number) => valueLoss({ value, old: 0, target }, keys.valueClip);
      const difference = (at(move + step).loss - at(move - step).loss) / (2 * step);
      expect(Math.abs(at(move).slope - difference)).toBeLessThan(1e-8);
    }
  });
});

it('a policy needs a model that can be drawn from as it is trained', async () => {
  const engine = await createEngine({ name: 'native', threads: 1 });
  const trainerOf = (objective: typeof grpo, changes: object) => () =>
    new Trainer(engine, { ...tinyConfig, ...changes }, { seed: 1, objective: objective(keys) });
  expect(trainerOf(grpo, { dropout: 0.1 })).toThrow('objective grpo: the model has dropout 0.1: expected 0');
  expect(trainerOf(ppo, {})).toThrow('objective ppo: the model has no value head');
  expect(trainerOf(grpo, { labels: ['a', 'b'] })).toThrow('objective grpo: the model classifies texts');
  await engine.dispose();
});

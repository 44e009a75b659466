import { describe, expect, it } from 'vitest';
import type { ParameterSpec } from '../../../src/architecture/parameters.ts';
import { declaredTensors, isTrainedBy, trainableProblem } from '../../../src/architecture/trainable.ts';
import { modelOf } from '../../../src/config/groups/model.ts';
import { configSchema } from '../../../src/config/schema.ts';

const specOf = (name: string, trainable?: boolean): ParameterSpec => {
  const spec = { name, shape: [2], size: 2, decay: false, init: { constant: 0 } };
  return trainable === undefined ? spec : { ...spec, trainable };
};
const specs = [specOf('h.1.attn.weight'), specOf('h.11.attn.weight'), specOf('ln.bias'), specOf('table', false)];
const trainedBy = (trainable: string | string[]) => specs.filter(isTrainedBy(trainable)).map(({ name }) => name);

describe('train.trainable', () => {
  it.each([
    ['all', ['h.1.attn.weight', 'h.11.attn.weight', 'ln.bias']],
    ['h.1.*', ['h.1.attn.weight']],
    ['h.1', []],
    ['*.attn.*', ['h.1.attn.weight', 'h.11.attn.weight']],
    ['*weight', ['h.1.attn.weight', 'h.11.attn.weight']],
    ['h*1*1*weight', ['h.11.attn.weight']],
    ['h.1.attn.weight*weight', []],
    ['ln.bias', ['ln.bias']],
    ['ln?bias', []],
    ['table', []],
    [
      ['ln.*', 'h.11.*'],
      ['h.11.attn.weight', 'ln.bias'],
    ],
  ])('%j', (trainable, names) => {
    expect(trainedBy(trainable)).toEqual(names);
  });

  it('is refused where a pattern matches nothing that can be trained, which it names', () => {
    expect(trainableProblem(['ln.*', 'h.*'], specs)).toBeUndefined();
    expect(trainableProblem('all', specs)).toBeUndefined();
    expect(trainableProblem(['ln.*', 'h.2.*'], specs)).toBe(
      'h.2.* is the name of none that can be trained; there are h.1.attn.weight, h.11.attn.weight, ln.bias',
    );
    expect(trainableProblem('table', specs)).toMatch(/^table is the name of none/);
  });

  it('says of each parameter of a model whether it is trained', () => {
    const { model } = configSchema.parse({ model: { nLayer: 1, nHead: 1, nEmbd: 4, blockSize: 8, bias: false } });
    const tensors = declaredTensors(modelOf(model, 3), '*.mlp.*');
    expect(tensors.filter(({ trained }) => trained)).toEqual([
      { name: 'transformer.h.0.mlp.c_fc.weight', shape: [4, 16], trained: true },
      { name: 'transformer.h.0.mlp.c_proj.weight', shape: [16, 4], trained: true },
    ]);
    expect(tensors).toHaveLength(9);
  });
});

import { describe, expect, it } from 'vitest';
import type { ParameterSpec } from '../../../src/architecture/parameters.ts';
import { declaredTensors, isTrainedBy, trainableProblem } from '../../../src/architecture/trainable.ts';
import { isTrainedTensor } from '../../../src/base/stateParts.ts';
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

  it('selects by the place in the network', () => {
    const keys = { nLayer: 3, nHead: 1, nEmbd: 4, blockSize: 8, vocabSize: 5, bias: false };
    const namesOf = (trainable: string | string[], more: object = {}) => {
      const task = 'labels' in more ? { task: { kind: 'classify' as const }, data: { examples: 'rows.csv' } } : {};
      const { model } = configSchema.parse({ model: { ...keys, ...more }, ...task });
      const names = declaredTensors(modelOf(model, 5), trainable).flatMap((tensor) =>
        isTrainedTensor(tensor) ? tensor.name : [],
      );
      return [...new Set(names.map((name) => name.replace(/(h\.\d).*/, '$1')))];
    };
    const labels = { labels: ['a', 'b'] };
    expect(namesOf('head', labels)).toEqual(['score.weight']);
    expect(namesOf('head', { tiedHead: false })).toEqual(['lm_head.weight']);
    expect(namesOf('lastBlocks:1', labels)).toEqual(['transformer.h.2', 'transformer.ln_f.weight', 'score.weight']);
    expect(namesOf('lastBlocks:2')).toEqual(['transformer.h.1', 'transformer.h.2', 'transformer.ln_f.weight']);
    expect(namesOf(['head', 'transformer.wpe.*'], labels)).toEqual(['transformer.wpe.weight', 'score.weight']);
  });

  it.each([
    ['head', 'head selects nothing, because the output is computed from a weight that is not only the head'],
    ['lastBlocks:3', 'lastBlocks:3 expects a number of blocks from 1 to 2, as in lastBlocks:1'],
    ['lastBlocks:0', 'lastBlocks:0 expects a number'],
    ['lastBlocks', 'lastBlocks expects a number'],
    [['all', 'lastBlocks:x'], 'lastBlocks:x expects a number'],
  ])('refuses %j for a model of 2 blocks with a tied head', (trainable, message) => {
    const { error } = configSchema.safeParse({ model: { nLayer: 2 }, train: { trainable } });
    expect(JSON.stringify(error?.issues)).toContain(message);
  });

  it('may name the head that comes with the labels of the rows', () => {
    const problemsOf = (task: object, more: object = {}) =>
      configSchema.safeParse({ train: { trainable: 'head' }, data: { examples: 'rows.csv' }, task, ...more }).error
        ?.issues;
    expect(problemsOf({ kind: 'classify' })).toBeUndefined();
    expect(problemsOf({ kind: 'reward' })).toBeUndefined();
    expect(problemsOf({ kind: 'sft' })).toHaveLength(1);
    const labels = (...names: string[]) => ({ model: { labels: names } });
    expect(problemsOf({ kind: 'classify' }, labels('a', 'b'))).toBeUndefined();
    const detail = (problem: string) => [
      expect.objectContaining({ params: expect.objectContaining({ detail: problem }) }),
    ];
    expect(problemsOf({ kind: 'classify' }, labels('a'))).toEqual(
      detail('expected the names of at least two classes, or [] for those of the rows'),
    );
    expect(problemsOf({ kind: 'reward' }, labels('a', 'b'))).toEqual(detail('expected one name, or [] for [reward]'));
    expect(problemsOf({ kind: 'lm' }, labels('a', 'b'))).toEqual(
      detail('expected [], because lm needs a language model'),
    );
    expect(problemsOf({ kind: 'classify' }, { model: { architecture: 'bigram' }, train: {} })).toHaveLength(1);
  });

  it('says of each parameter of a model whether it is trained', () => {
    const { model } = configSchema.parse({ model: { nLayer: 1, nHead: 1, nEmbd: 4, blockSize: 8, bias: false } });
    const tensors = declaredTensors(modelOf(model, 3), '*.mlp.*');
    expect(tensors.filter(isTrainedTensor)).toEqual([
      { name: 'transformer.h.0.mlp.c_fc.weight', shape: [4, 16], parts: ['model', 'm', 'v'] },
      { name: 'transformer.h.0.mlp.c_proj.weight', shape: [16, 4], parts: ['model', 'm', 'v'] },
    ]);
    expect(tensors).toHaveLength(9);
  });
});

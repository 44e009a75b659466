/** Models with other outputs than a vocabulary: which objectives they have, and that they generate no text. */
import { expect, it } from 'vitest';
import { DecodeBatch } from '../../../../src/model/decodeBatch.ts';
import { evaluateBatches } from '../../../../src/model/evaluation.ts';
import { Model } from '../../../../src/model/model.ts';
import { nextToken } from '../../../../src/model/objectives/nextToken.ts';
import { parameterSpecs } from '../../../../src/model/parameterOrder.ts';
import { Parameters } from '../../../../src/model/parameterStore.ts';
import { Trainer } from '../../../../src/model/training.ts';
import { Float64Engine } from '../../../parity/model/float64Engine.ts';
import { randomBatch, tinyConfig } from '../../../parity/model/tinyModels.ts';

const classifier = { ...tinyConfig, labels: ['ham', 'spam'] };
const reward = { ...tinyConfig, labels: ['reward'] };

it.each([
  [classifier, 'the model classifies texts (ham, spam) and does not predict or generate them'],
  [reward, 'the model scores texts (reward) and does not predict or generate them'],
])('a model without a vocabulary predicts and generates nothing: %#', async (config, message) => {
  const engine = new Float64Engine();
  const model = new Model(engine, config, new Parameters(engine, parameterSpecs(config), { training: false }));
  expect(() => new DecodeBatch(engine, model)).toThrow(message);
  expect(() => new Trainer(engine, config, { seed: 1 })).toThrow(`objective next-token: ${message}`);
  const batches = [randomBatch(config, { seed: 1, batchSize: 2 })];
  await expect(evaluateBatches({ engine, model, objective: nextToken }, batches)).rejects.toThrow(message);
});

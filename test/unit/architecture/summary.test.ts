import { expect, it } from 'vitest';
import { architectureOf } from '../../../src/architecture/registry.ts';
import { tinyEncoderDecoder } from '../../parity/model/sourceBatches.ts';
import { tinyConfig } from '../../parity/model/tinyModels.ts';

it.each([
  [1, 1, /^1 layer, 1 head, /],
  [2, 2, /^2 layers, 2 heads, /],
])('counts %i layers and %i heads', (nLayer, nHead, text) => {
  const config = { ...tinyConfig, nLayer, nHead };
  expect(architectureOf(config).summary(config)).toMatch(text);
});

it('names the layers of an encoder and a decoder', () => {
  const config = { ...tinyEncoderDecoder, encoderLayers: 1, nLayer: 3 };
  expect(architectureOf(config).summary(config)).toMatch(/^1 encoder layer, 3 decoder layers, /);
});

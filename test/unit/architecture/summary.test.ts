import { expect, it } from 'vitest';
import { architectureOf } from '../../../src/architecture/registry.ts';
import { tinyConfig } from '../../parity/model/tinyModels.ts';

it.each([
  [1, 1, /^1 layer, 1 head, /],
  [2, 2, /^2 layers, 2 heads, /],
])('counts %i layers and %i heads', (nLayer, nHead, text) => {
  const config = { ...tinyConfig, nLayer, nHead };
  expect(architectureOf(config).summary(config)).toMatch(text);
});

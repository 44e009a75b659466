/** Dropout in WGSL: the generator of base/counterRandom.ts, bit for bit, and the parameters of a call. */
import { randomKey } from '../../../base/counterRandom.ts';
import type { Dropout } from '../../dropout.ts';
import type { Scalar } from '../program.ts';

/** Parameters that a program with dropout declares. */
export const dropoutParams = {
  stepK0: 'u32',
  stepK1: 'u32',
  firstSample: 'u32',
  site: 'u32',
  threshold: 'u32',
  keepScale: 'f32',
} as const satisfies Readonly<Record<string, Scalar>>;

/** Their values. */
export function dropoutValues({
  seed,
  step,
  firstSample,
  site,
  rate,
}: Dropout): Record<keyof typeof dropoutParams, number> {
  const { k0, k1 } = randomKey(seed, step);
  return { stepK0: k0, stepK1: k1, firstSample, site, threshold: Math.ceil(rate * 2 ** 24), keepScale: 1 / (1 - rate) };
}

/**
 * `dropoutKey(sample) -> vec2u`, the key of a sample counted from the call's first, and `keep(key, index, x) -> f32`: x scaled, or 0
 * where it is dropped.
 */
export const dropoutFunctions = `
fn mix32(value: u32) -> u32 {
  var x = value;
  x = (x ^ (x >> 16u)) * 0x7feb352du;
  x = (x ^ (x >> 15u)) * 0x846ca68bu;
  return x ^ (x >> 16u);
}
fn extendKey(key: vec2u, word: u32) -> vec2u {
  let k0 = mix32(key.x ^ word);
  return vec2u(k0, mix32((key.y + word * 0x27d4eb2fu) ^ k0));
}
fn dropoutKey(sample: u32) -> vec2u {
  return extendKey(extendKey(vec2u(params.stepK0, params.stepK1), params.firstSample + sample), params.site);
}
fn keep(key: vec2u, index: u32, x: f32) -> f32 {
  let bits = mix32(mix32(index ^ key.x) + key.y);
  return select(x * params.keepScale, 0.0, (bits >> 8u) < params.threshold);
}`;

/** `keep4(key, indices, x) -> vec4f`: `keep` of four elements. */
export const dropoutVectorFunctions = `${dropoutFunctions}
fn mix32x4(value: vec4u) -> vec4u {
  var x = value;
  x = (x ^ (x >> vec4u(16u))) * vec4u(0x7feb352du);
  x = (x ^ (x >> vec4u(15u))) * vec4u(0x846ca68bu);
  return x ^ (x >> vec4u(16u));
}
fn keep4(key: vec2u, indices: vec4u, x: vec4f) -> vec4f {
  let bits = mix32x4(mix32x4(indices ^ vec4u(key.x)) + vec4u(key.y));
  return select(x * params.keepScale, vec4f(), (bits >> vec4u(8u)) < vec4u(params.threshold));
}`;

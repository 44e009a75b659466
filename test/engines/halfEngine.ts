/**
 * The native engine in place of one with float16: its products are of float32 numbers, and the norm of a gradient is infinite from a limit on, as if
 * one of its numbers had been too large for float16.
 */
import type { Engine } from '../../src/engine/engine.ts';
import type { EngineEntry } from '../../src/engine/engineEntry.ts';
import { engines } from '../../src/engine/engines.ts';
import { createNativeEngine } from '../../src/engine/native/nativeEngine.ts';

/** @param limit of the norm, with the scale of the loss */
export function halfEngine(limit = Number.POSITIVE_INFINITY): Engine {
  const native = createNativeEngine({ threads: 1 });
  const squaredNorm: Engine['squaredNorm'] = async (group) => {
    const squared = await native.squaredNorm(group);
    return squared < limit ** 2 ? squared : Number.POSITIVE_INFINITY;
  };
  const replaced: Partial<Engine> = { hasFloat16: true, squaredNorm };
  return new Proxy(native, {
    get: (target, key) => {
      if (key in replaced) return replaced[key as keyof Engine];
      const value = Reflect.get(target, key) as unknown;
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}

/** It in a table of engines. */
export const halfEntry = (limit?: number): EngineEntry => ({
  ...engines.native,
  precisions: ['float32', 'f16'],
  start: async () => halfEngine(limit),
});

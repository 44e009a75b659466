/** The common suite: every kernel of an engine, forward and backward, against the float64 reference. */
import { afterAll, afterEach, beforeAll, describe } from 'vitest';
import type { Engine } from '../../../src/engine/engine.ts';
import { attentionBfloat16Cases, attentionCases } from './attentionCases.ts';
import { bfloat16Cases } from './bfloat16Cases.ts';
import { blockVariantBfloat16Cases, blockVariantCases } from './blockVariantCases.ts';
import { documentBfloat16Cases, documentCases } from './documentCases.ts';
import { elementwiseCases } from './elementwiseCases.ts';
import { KernelContext } from './harness.ts';
import { lossCases } from './lossCases.ts';
import { matrixCases } from './matrixCases.ts';
import { matrixPartCases } from './matrixPartCases.ts';
import { memoryCases } from './memoryCases.ts';
import { rangeBfloat16Cases, rangeCases } from './rangeCases.ts';

export interface KernelSuiteOptions {
  /** Multiplies every tolerance of tolerances.ts, for a device whose arithmetic is looser than IEEE float32. */
  readonly toleranceFactor?: number;
  /** Whether the engine has tensors of bfloat16. */
  readonly bfloat16?: boolean;
  /** Why this machine cannot run the engine. The suite is then left out, and says so. */
  readonly unavailable?: string | undefined;
}

export function kernelSuite(name: string, createEngine: () => Promise<Engine>, options: KernelSuiteOptions = {}): void {
  if (options.unavailable !== undefined) process.stdout.write(`${name}: not run: ${options.unavailable}\n`);

  describe.runIf(options.unavailable === undefined)(name, () => {
    let context: KernelContext | undefined;
    const getContext = (): KernelContext => {
      if (context === undefined) throw new Error(`${name} did not start`);
      return context;
    };
    beforeAll(async () => {
      context = new KernelContext(await createEngine(), options.toleranceFactor ?? 1);
    });
    afterEach(() => context?.releaseAll());
    afterAll(async () => context?.engine.dispose());

    elementwiseCases(getContext);
    matrixCases(getContext);
    attentionCases(getContext);
    documentCases(getContext);
    blockVariantCases(getContext);
    rangeCases(getContext);
    lossCases(getContext);
    matrixPartCases(getContext);
    memoryCases(getContext);
    if (options.bfloat16) {
      bfloat16Cases(getContext);
      attentionBfloat16Cases(getContext);
      documentBfloat16Cases(getContext);
      blockVariantBfloat16Cases(getContext);
      rangeBfloat16Cases(getContext);
    }
  });
}

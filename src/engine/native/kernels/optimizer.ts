/** What an update of the parameters needs: norms, AdamW, and the sums of matrices that Muon is made of. */
import type { KernelOptions } from '../../kernels.ts';
import { updatedTensors, weightedSumParts } from '../../optimizerOptions.ts';
import type { TensorGroup } from '../../tensor.ts';
import { floats, floatsOfGroup } from '../checks.ts';
import type { OpenEngine } from '../openEngine.ts';

export async function squaredNorm({ addon, handle }: OpenEngine, group: TensorGroup): Promise<number> {
  return addon.squaredNorm(handle, floatsOfGroup(group));
}

export function adamw({ addon, handle }: OpenEngine, options: KernelOptions<'adamw'>): void {
  const { params, grads, m, v, average } = options;
  const updated = updatedTensors(options);
  addon.adamw(
    handle,
    options.learningRate,
    options.beta1,
    options.beta2,
    options.eps,
    options.step,
    options.gradScale,
    options.zeroGrads ?? false,
    floatsOfGroup(params),
    floatsOfGroup(grads),
    floatsOfGroup(m),
    floatsOfGroup(v),
    Float64Array.from(
      updated.flatMap(({ index, indexOfV }) => {
        const start = params.offsets[index]!;
        return [start, start + params.tensors[index]!.size, v.offsets[indexOfV]!];
      }),
    ),
    Float64Array.from(updated, ({ index }) => options.weightDecay[index]!),
    average ? floatsOfGroup(average.group) : null,
    average?.weight ?? 0,
  );
}

export function weightedSum({ addon, handle }: OpenEngine, options: KernelOptions<'weightedSum'>): void {
  const { out, a, b } = weightedSumParts(options);
  addon.weightedSum(
    handle,
    options.rows,
    options.columns,
    floats(out.tensor, 'out'),
    out.start,
    out.stride,
    floats(a.tensor, 'a'),
    a.start,
    a.stride,
    floats(b.tensor, 'b'),
    b.start,
    b.stride,
    options.scaleA,
    options.scaleB,
  );
}

export function normalise({ addon, handle }: OpenEngine, { tensor, eps }: KernelOptions<'normalise'>): void {
  addon.normalise(handle, floats(tensor, 'tensor'), eps);
}

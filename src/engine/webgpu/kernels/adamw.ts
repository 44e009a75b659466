/**
 * AdamW in integers: the same bits on every GPU, and those of the native engine on x86 (native/kernels/adamw.cc), so replicas on
 * different GPUs stay equal. docs/decisions/webgpu-update.md
 */
import { invariant } from '../../../base/errors.ts';
import { power } from '../../../base/power.ts';
import type { KernelOptions } from '../../kernels.ts';
import { updatedTensors } from '../../optimizerOptions.ts';
import type { Gpu } from '../gpu.ts';
import { type GpuTensorGroup, gpuGroup } from '../memory.ts';
import { FLAT_GROUP, flatGrid, program } from '../program.ts';
import { softFloat } from '../wgsl/softFloat.ts';

/** Elements that one invocation updates. A workgroup's elements belong to one tensor. */
const ELEMENTS_PER_INVOCATION = 4;
const ELEMENTS_PER_GROUP = FLAT_GROUP * ELEMENTS_PER_INVOCATION;

/** Factors that all elements share, as the bits of float32 numbers. */
const factors = {
  gradScale: 'u32',
  beta1: 'u32',
  rest1: 'u32',
  beta2: 'u32',
  rest2: 'u32',
  stepSize: 'u32',
  correction: 'u32',
  eps: 'u32',
  averageWeight: 'u32',
  averageRest: 'u32',
} as const;

const bindings = {
  parameters: 'read_write u32',
  gradients: 'read_write u32',
  firstMoments: 'read_write u32',
  secondMoments: 'read_write u32',
  tensors: 'read vec4u',
} as const;
const params = { ...factors, zeroGrads: 'u32', tensorCount: 'u32' } as const;

const update = program({ name: 'adamw', bindings, params, code: code('') });
const averagingUpdate = program({
  name: 'adamwAveraging',
  bindings: { ...bindings, averages: 'read_write u32' },
  params,
  code: code(
    'averages[i] = multiplyAdd(params.averageRest, averages[i], multiply(params.averageWeight, parameters[i]));',
  ),
});

/** @param after what follows the update of element i */
function code(after: string): string {
  return `${softFloat}
// The last tensor whose first workgroup is at or before this one: its first workgroup, first element, size, and decay factor.
fn tensorOf(group: u32) -> vec4u {
  var low = 0u;
  var high = params.tensorCount;
  while (high - low > 1u) {
    let middle = (low + high) / 2u;
    if (tensors[middle].x <= group) { low = middle; } else { high = middle; }
  }
  return tensors[low];
}

fn updateElement(i: u32, decay: u32) {
  let gradient = multiply(gradients[i], params.gradScale);
  let m = multiplyAdd(params.beta1, firstMoments[i], multiply(params.rest1, gradient));
  let v = multiplyAdd(params.beta2, secondMoments[i], multiply(multiply(params.rest2, gradient), gradient));
  firstMoments[i] = m;
  secondMoments[i] = v;
  let step = multiply(params.stepSize, divide(m, multiplyAdd(squareRoot(v), params.correction, params.eps)));
  parameters[i] = multiplyAdd(parameters[i], decay, step ^ signBit);
  if (params.zeroGrads != 0u) { gradients[i] = 0u; }
  ${after}
}

@compute @workgroup_size(${FLAT_GROUP})
fn main(@builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let group = id.y * groups.x + id.x;
  let tensor = tensorOf(group);
  let first = (group - tensor.x) * ${ELEMENTS_PER_GROUP}u + local;
  for (var k = 0u; k < ${ELEMENTS_PER_INVOCATION}u; k++) {
    let element = first + k * ${FLAT_GROUP}u;
    if (element < tensor.z) { updateElement(tensor.y + element, tensor.w); }
  }
}`;
}

export function adamw(gpu: Gpu, options: KernelOptions<'adamw'>): void {
  const parameters = gpuGroup(options.params);
  const [gradients, firstMoments, secondMoments] = [options.grads, options.m, options.v].map(gpuGroup);
  const averages = options.average && gpuGroup(options.average.group);
  for (const group of [gradients!, firstMoments!, ...(averages ? [averages] : [])]) {
    invariant(group.length === parameters.length, `adamw: groups of ${parameters.length} and ${group.length} elements`);
  }
  const values = { ...factorBits(options), zeroGrads: Number(options.zeroGrads ?? false) };
  const decays = options.weightDecay.map((decay) => bitsOf(1 - options.learningRate * decay));
  for (const { from, length, fromInV } of partsOf(gpu, parameters, secondMoments!, updatedTensors(options))) {
    const { rows, groups } = tensorTable(parameters, decays, from, from + length);
    const part = ({ block }: GpuTensorGroup) => ({ tensor: block, from, length });
    gpu.withTemporary(
      [rows.length],
      (tensors) => {
        gpu.commands.write(tensors.buffer, 0, rows);
        const shared = {
          parameters: part(parameters),
          gradients: part(gradients!),
          firstMoments: part(firstMoments!),
          secondMoments: { tensor: secondMoments!.block, from: fromInV, length },
          tensors,
        };
        const call = { params: { ...values, tensorCount: rows.length / 4 }, groups: flatGrid(groups) };
        if (averages === undefined) gpu.run(update, { ...call, tensors: shared });
        else gpu.run(averagingUpdate, { ...call, tensors: { ...shared, averages: part(averages) } });
      },
      'int32',
    );
  }
}

/** Runs of updated tensors that follow one another, which both groups lay out alike, cut where they are longer than a binding. */
function partsOf(
  gpu: Gpu,
  parameters: GpuTensorGroup,
  secondMoments: GpuTensorGroup,
  updated: readonly { readonly index: number; readonly indexOfV: number }[],
) {
  const parts: { from: number; length: number; fromInV: number }[] = [];
  for (let first = 0, last: number; first < updated.length; first = last + 1) {
    last = first;
    while (updated[last + 1]?.index === updated[last]!.index + 1) last += 1;
    const [start, end] = [parameters.offsets[updated[first]!.index]!, updated[last]!.index + 1];
    const ahead = secondMoments.offsets[updated[first]!.indexOfV]! - start;
    const to = parameters.offsets[end] ?? parameters.length;
    for (let from = start; from < to; from += gpu.bindingFloatsMax) {
      parts.push({ from, length: Math.min(gpu.bindingFloatsMax, to - from), fromInV: from + ahead });
    }
  }
  return parts;
}

/** The tensors in elements [from, to) of a group, as the program reads them, and the number of workgroups that they need. */
function tensorTable({ tensors, offsets }: GpuTensorGroup, decays: readonly number[], from: number, to: number) {
  const rows: number[] = [];
  let groups = 0;
  for (const [i, { size }] of tensors.entries()) {
    const start = Math.max(offsets[i]!, from);
    const length = Math.min(offsets[i]! + size, to) - start;
    if (length <= 0) continue;
    rows.push(groups, start - from, length, decays[i]!);
    groups += Math.ceil(length / ELEMENTS_PER_GROUP);
  }
  return { rows: Int32Array.from(rows), groups };
}

/** Computed in double precision and rounded once, as native/bindings/optimizer.cc does. */
function factorBits(options: KernelOptions<'adamw'>): Record<keyof typeof factors, number> {
  const { learningRate, beta1, beta2, eps, step, gradScale, average } = options;
  const weight = average?.weight ?? 0;
  return {
    gradScale: bitsOf(gradScale),
    beta1: bitsOf(beta1),
    rest1: bitsOf(1 - beta1),
    beta2: bitsOf(beta2),
    rest2: bitsOf(1 - beta2),
    stepSize: bitsOf(learningRate / (1 - power(beta1, step))),
    correction: bitsOf(1 / Math.sqrt(1 - power(beta2, step))),
    eps: bitsOf(eps),
    averageWeight: bitsOf(weight),
    averageRest: bitsOf(1 - weight),
  };
}

const word = new DataView(new ArrayBuffer(4));

/** The bits of the nearest float32. */
function bitsOf(value: number): number {
  word.setFloat32(0, value);
  return word.getInt32(0);
}

/** The compiled programs of a device, and the bind groups that their calls share. */
import { shaderStageCompute } from './constants.ts';
import type { DeviceBuffer } from './memory.ts';
import { type Program, wgslOf } from './program.ts';

/** Bind groups that are kept. A training step uses the same few hundred again. */
const BIND_GROUPS_MAX = 8192;

/** The part of a buffer that a program sees as an array. */
export interface BoundRange {
  readonly buffer: DeviceBuffer;
  readonly offset: number;
  readonly bytes: number;
}

interface Compiled {
  readonly id: number;
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
}

export class Pipelines {
  /** The layout of group 1: a slot of the buffer of parameters. */
  readonly paramsLayout: GPUBindGroupLayout;
  readonly #device: GPUDevice;
  readonly #compiled = new Map<Program, Compiled>();
  readonly #bindGroups = new Map<string, GPUBindGroup>();

  constructor(device: GPUDevice) {
    this.#device = device;
    this.paramsLayout = device.createBindGroupLayout({
      entries: [
        {
          binding: 0,
          visibility: shaderStageCompute,
          buffer: { type: 'uniform', hasDynamicOffset: true, minBindingSize: 0 },
        },
      ],
    });
  }

  /** What a call of a program binds. */
  bindGroup({ id, layout }: Compiled, ranges: readonly BoundRange[]): GPUBindGroup {
    let key = `${id}`;
    for (const { buffer, offset, bytes } of ranges) key += `,${buffer.id}:${offset}:${bytes}`;
    const known = this.#bindGroups.get(key);
    if (known !== undefined) return known;
    if (this.#bindGroups.size === BIND_GROUPS_MAX) this.#bindGroups.clear();
    const made = this.#device.createBindGroup({
      layout,
      entries: ranges.map(({ buffer, offset, bytes }, binding) => ({
        binding,
        resource: { buffer: buffer.gpu, offset, size: bytes },
      })),
    });
    this.#bindGroups.set(key, made);
    return made;
  }

  /** The program, compiled at its first call. */
  compile(program: Program): Compiled {
    const known = this.#compiled.get(program);
    if (known !== undefined) return known;
    const device = this.#device;
    const layout = device.createBindGroupLayout({
      label: program.name,
      entries: Object.values<string>(program.bindings).map((binding, i) => ({
        binding: i,
        visibility: shaderStageCompute,
        buffer: { type: binding.startsWith('read_write') ? 'storage' : 'read-only-storage' },
      })),
    });
    const pipeline = device.createComputePipeline({
      label: program.name,
      layout: device.createPipelineLayout({
        bindGroupLayouts: Object.keys(program.params).length > 0 ? [layout, this.paramsLayout] : [layout],
      }),
      compute: {
        module: device.createShaderModule({ label: program.name, code: wgslOf(program) }),
        entryPoint: 'main',
      },
    });
    const compiled = { id: this.#compiled.size, pipeline, layout };
    this.#compiled.set(program, compiled);
    return compiled;
  }
}

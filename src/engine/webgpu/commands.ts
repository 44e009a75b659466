/**
 * Records and submits what the GPU does. Calls of programs and copies collect in one batch, in the order of the calls, until
 * something is read or the batch is full; then the queue runs them in that order.
 */
import { setTimeout } from 'node:timers/promises';
import { InvariantError, invariant, messageOf, PeerError } from '../../base/errors.ts';
import { bufferUsage, mapModeRead } from './constants.ts';
import { BINDING_ALIGNMENT, type DeviceBuffer, type GpuTensor } from './memory.ts';
import { Naps } from './naps.ts';
import { type BoundRange, Pipelines } from './pipelines.ts';
import { PARAMS_BYTES, type Program, writeParams } from './program.ts';

/** Calls in a batch: enough to pay for the submission, few enough that the GPU starts early. */
const CALLS_MAX = 256;
/** How long after a rejected promise Dawn may say that the device is lost. */
const LOSS_MS = 1000;

/** A tensor as a program sees it: all of it, or elements [from, from + length), `from` being a multiple of BINDING_ALIGNMENT. */
export type Bound = GpuTensor | { readonly tensor: GpuTensor; readonly from: number; readonly length: number };

/** One call of a program. */
export interface Call<B extends string, P extends string> {
  readonly tensors: Readonly<Record<B, Bound>>;
  readonly params: Readonly<Record<P, number>>;
  /** Workgroups in x, y and z. */
  readonly groups: readonly [number, number?, number?];
}

/** Leaves everything as it is. */
const nothing: Program = {
  name: 'timestamp',
  bindings: {},
  params: {},
  code: '@compute @workgroup_size(1) fn main() {}',
};

/** Where temporary buffers come from. */
interface TemporaryMemory {
  take(bytes: number): DeviceBuffer;
  give(buffer: DeviceBuffer): void;
  /** Frees what is kept in excess and no batch from `batch` on uses. */
  trim(batch: number): void;
}

export class Commands {
  readonly device: GPUDevice;
  readonly #memory: TemporaryMemory;
  readonly #pipelines: Pipelines;
  readonly #paramsBuffer: GPUBuffer;
  readonly #paramsGroup: GPUBindGroup;
  readonly #params = new DataView(new ArrayBuffer(CALLS_MAX * PARAMS_BYTES));
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;
  #calls = 0;
  #batch = 0;
  /** Resolves when the errors of all batches so far are known. */
  #checked: Promise<void> = Promise.resolve();
  #failure: Error | undefined;
  #isClosed = false;
  /** Promises of Dawn that are pending. */
  readonly #pending = new Set<Promise<unknown>>();
  readonly #naps: Naps | undefined;

  /** @param isSoftware whether the device computes on the processors of this machine */
  constructor(device: GPUDevice, memory: TemporaryMemory, isSoftware: boolean) {
    this.device = device;
    this.#memory = memory;
    this.#naps = isSoftware ? new Naps(() => this.#pending.size > 0) : undefined;
    this.#pipelines = new Pipelines(device);
    this.#paramsBuffer = device.createBuffer({ size: CALLS_MAX * PARAMS_BYTES, usage: bufferUsage.uniform });
    this.#paramsGroup = device.createBindGroup({
      layout: this.#pipelines.paramsLayout,
      entries: [{ binding: 0, resource: { buffer: this.#paramsBuffer, size: PARAMS_BYTES } }],
    });
    this.#openScopes();
    void device.lost.then(({ message }) => {
      const reason = message.trim().split('\n', 1)[0] || 'its driver gives no reason';
      if (!this.#isClosed) this.fail(new PeerError(`the GPU was lost: ${reason}; start this worker again`));
    });
  }

  /** Why every promise of the engine is rejected from now on; undefined while the device works. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Only the first failure is reported: later ones follow from it. */
  fail(error: Error): void {
    this.#failure ??= error;
  }

  /** Records one call. */
  run<B extends string, P extends string>(program: Program<B, P>, call: Call<B, P>): void {
    this.#refuseClosed();
    const compiled = this.#pipelines.compile(program);
    if (this.#calls === CALLS_MAX) this.submit();
    const { ranges, copies } = this.#ranges(program, call.tensors);
    const pass = this.#openPass();
    pass.setPipeline(compiled.pipeline);
    pass.setBindGroup(0, this.#pipelines.bindGroup(compiled, ranges));
    if (Object.keys(program.params).length > 0) {
      const offset = this.#calls * PARAMS_BYTES;
      writeParams(program, call.params, new DataView(this.#params.buffer, offset, PARAMS_BYTES));
      pass.setBindGroup(1, this.#paramsGroup, [offset]);
    }
    pass.dispatchWorkgroups(call.groups[0], call.groups[1] ?? 1, call.groups[2] ?? 1);
    this.#calls += 1;
    for (const copy of copies) this.#memory.give(copy);
  }

  /** Records a copy between buffers; offsets and length in bytes, multiples of 4. */
  copy(from: DeviceBuffer, fromOffset: number, to: DeviceBuffer, toOffset: number, bytes: number): void {
    if (from === to) {
      // WebGPU copies between two buffers only.
      const between = this.#memory.take(bytes);
      this.copy(from, fromOffset, between, 0, bytes);
      this.copy(between, 0, to, toOffset, bytes);
      this.#memory.give(between);
      return;
    }
    this.#endPass();
    this.#use(from);
    this.#use(to);
    this.#open().copyBufferToBuffer(from.gpu, fromOffset, to.gpu, toOffset, bytes);
  }

  /** Records that a range becomes 0. */
  clear(buffer: DeviceBuffer, offset: number, bytes: number): void {
    this.#endPass();
    this.#use(buffer);
    this.#open().clearBuffer(buffer.gpu, offset, bytes);
  }

  /** Records a timestamp, after all before and before all after it. Some drivers write none for a pass without a call. */
  mark(timestampWrites: GPUComputePassTimestampWrites): void {
    this.#endPass();
    const pass = this.#open().beginComputePass({ timestampWrites });
    pass.setPipeline(this.#pipelines.compile(nothing).pipeline);
    pass.dispatchWorkgroups(1);
    pass.end();
  }

  /** Records what has no method of its own. */
  encode(record: (encoder: GPUCommandEncoder) => void): void {
    this.#endPass();
    record(this.#open());
  }

  /** Writes host data to a buffer, after all that is recorded with that buffer. */
  write(buffer: DeviceBuffer, offset: number, data: Float32Array | Int32Array): void {
    this.#refuseClosed();
    if (buffer.batch === this.#batch) this.submit();
    // Dawn takes no shared memory.
    const own = data.buffer instanceof SharedArrayBuffer ? data.slice() : data;
    this.device.queue.writeBuffer(buffer.gpu, offset, own.buffer as ArrayBuffer, own.byteOffset, own.byteLength);
  }

  /** Gives the queue all that is recorded. */
  submit(): void {
    if (this.#encoder === undefined) return;
    this.#endPass();
    const { queue } = this.device;
    if (this.#calls > 0) queue.writeBuffer(this.#paramsBuffer, 0, this.#params.buffer, 0, this.#calls * PARAMS_BYTES);
    queue.submit([this.#encoder.finish()]);
    this.#encoder = undefined;
    this.#calls = 0;
    this.#batch += 1;
    this.#memory.trim(this.#batch);
    this.#closeScopes();
    this.#openScopes();
  }

  /** @throws the failure, if there is one so far */
  throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Resolves when the errors of all that was submitted are known. @throws the failure */
  async check(): Promise<void> {
    await this.#checked;
    this.throwFailure();
  }

  /** Resolves when all that is recorded has run. */
  async finish(): Promise<void> {
    this.submit();
    await this.answer(() => this.device.queue.onSubmittedWorkDone()).catch((error: unknown) => this.#unanswered(error));
    await this.check();
  }

  /** An error that is known later is a failure, which the next `check` waits for. */
  watch(ask: () => Promise<GPUError | null>, report: (error: GPUError) => Error): void {
    this.#checked = Promise.all([this.#checked, this.answer(ask)]).then(
      ([, found]) => {
        if (found !== null) this.fail(report(found));
      },
      (reason: unknown) => this.#unanswered(reason),
    );
  }

  /** A promise of Dawn, to be waited for before its thread ends: a closed device is not asked. @throws the failure */
  async answer<T>(ask: () => Promise<T>): Promise<T> {
    if (this.#isClosed) throw this.#failure!;
    const promise = ask();
    this.#pending.add(promise);
    this.#naps?.start();
    try {
      return await promise;
    } finally {
      this.#pending.delete(promise);
    }
  }

  /** Maps a staging buffer, when what was submitted with it has run. @throws the failure */
  async map(staging: GPUBuffer): Promise<void> {
    await this.answer(() => staging.mapAsync(mapModeRead)).catch((error: unknown) => this.#unanswered(error));
    await this.check();
  }

  /** Resolves when no promise of Dawn is pending. Call it after `close`, which prevents new ones. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#pending);
  }

  /** From now on, what waits for the device is rejected, and its end is not a failure. */
  close(): void {
    this.#isClosed = true;
    this.fail(new PeerError('the GPU was closed before it had answered'));
    this.#pass = undefined;
    this.#encoder = undefined;
    this.#paramsBuffer.destroy();
  }

  #refuseClosed(): void {
    invariant(!this.#isClosed, 'the webgpu engine was used after its end');
  }

  #open(): GPUCommandEncoder {
    this.#refuseClosed();
    this.#encoder ??= this.device.createCommandEncoder();
    return this.#encoder;
  }

  #openPass(): GPUComputePassEncoder {
    this.#pass ??= this.#open().beginComputePass();
    return this.#pass;
  }

  #endPass(): void {
    this.#pass?.end();
    this.#pass = undefined;
  }

  #use(buffer: DeviceBuffer): void {
    buffer.batch = this.#batch;
  }

  /**
   * What a call binds. WebGPU refuses a call that reads and writes one buffer under two names, as when `out` is `inp`: then a copy
   * is read. Two names that are written may not overlap.
   */
  #ranges(program: Program, tensors: Readonly<Record<string, Bound>>) {
    const names = Object.keys(program.bindings);
    const isWritten = (name: string) => program.bindings[name]!.startsWith('read_write');
    const written = new Set(names.filter(isWritten).map((name) => rangeOf(tensors[name]!).buffer));
    const copies: DeviceBuffer[] = [];
    const ranges = names.map((name): BoundRange => {
      const range = rangeOf(tensors[name]!);
      const { maxStorageBufferBindingSize } = this.device.limits;
      invariant(
        range.bytes <= maxStorageBufferBindingSize,
        `${program.name}: ${name} has ${range.bytes} bytes, more than ${maxStorageBufferBindingSize} in one binding`,
      );
      this.#use(range.buffer);
      if (isWritten(name) || !written.has(range.buffer)) return range;
      const copy = this.#memory.take(range.bytes);
      copies.push(copy);
      this.copy(range.buffer, range.offset, copy, 0, range.bytes);
      return { buffer: copy, offset: 0, bytes: range.bytes };
    });
    return { ranges, copies };
  }

  #openScopes(): void {
    for (const kind of ['validation', 'out-of-memory', 'internal'] as const) this.device.pushErrorScope(kind);
  }

  #closeScopes(): void {
    for (const _ of [1, 2, 3]) this.watch(() => this.device.popErrorScope(), failureOf);
  }

  /** Dawn rejects what it does not answer any more: because the device is lost, which it says at the same time, or for another reason. */
  async #unanswered(error: unknown): Promise<void> {
    if (this.#isClosed) return;
    await Promise.race([this.device.lost, setTimeout(LOSS_MS, undefined, { ref: false })]);
    this.fail(new PeerError(`the GPU does not answer: ${messageOf(error)}`));
  }
}

/** WebGPU's kinds of error as ours: what it refuses is a bug of a kernel, what it lacks is the machine's. */
function failureOf(error: GPUError): Error {
  const first = error.message.split('\n', 1)[0]!;
  if (error.constructor.name === 'GPUOutOfMemoryError') {
    return new PeerError(
      `the GPU has too little free memory: ${first}; lower train.microBatchSize or model.blockSize, or end other programs on this GPU`,
    );
  }
  if (error.constructor.name === 'GPUValidationError') {
    return new InvariantError(`the GPU refused a command: ${error.message}`);
  }
  return new PeerError(`the GPU failed: ${error.message}`);
}

function rangeOf(bound: Bound): BoundRange {
  if (!('tensor' in bound)) return { buffer: bound.buffer, offset: bound.byteOffset, bytes: 4 * bound.size };
  const { tensor, from, length } = bound;
  invariant(
    from % BINDING_ALIGNMENT === 0 && from + length <= tensor.size,
    `elements [${from}, +${length}) of [${tensor.shape}]`,
  );
  return { buffer: tensor.buffer, offset: tensor.byteOffset + 4 * from, bytes: 4 * length };
}

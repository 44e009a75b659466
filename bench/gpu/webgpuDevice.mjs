/**
 * What Dawn finds of the GPU, and how fast it multiplies there: node bench/gpu/webgpuDevice.mjs RESULTS.jsonl. Needs the package
 * `webgpu`. Adapter, features, limits and matrix shapes, then rates of float32 multiply-adds and of subgroup matrices whose
 * operands stay in registers. Random operands.
 */
import { appendFileSync } from 'node:fs';
import { create, globals } from 'webgpu';

Object.assign(globalThis, globals);
const [, , results] = process.argv;

function put(record) {
  const line = `${JSON.stringify({ part: 'webgpu', ...record })}\n`;
  appendFileSync(results, line);
  process.stdout.write(line);
}

const write = (name, value, unit = '') => put({ name, value, unit });
const fail = (name, error) =>
  put({
    name,
    failed: String(error?.message ?? error)
      .split('\n')[0]
      .slice(0, 300),
  });

function deviceOptions(adapter) {
  const limits = {};
  for (const name of ['maxBufferSize', 'maxStorageBufferBindingSize', 'maxComputeInvocationsPerWorkgroup']) {
    limits[name] = adapter.limits[name];
  }
  const used = ['shader-f16', 'subgroups', 'chromium-experimental-subgroup-matrix'];
  return { requiredFeatures: used.filter((name) => adapter.features.has(name)), requiredLimits: limits };
}

function describe({ info, limits, features }) {
  write('adapter', [info.vendor, info.architecture, info.device, info.description].filter(Boolean).join(' · '));
  write('subgroup size', `${info.subgroupMinSize} to ${info.subgroupMaxSize}`);
  for (const name of [
    'maxBufferSize',
    'maxStorageBufferBindingSize',
    'maxStorageBuffersPerShaderStage',
    'maxComputeWorkgroupStorageSize',
    'maxComputeInvocationsPerWorkgroup',
  ]) {
    write(name, limits[name]);
  }
  write('features, with allow_unsafe_apis and vulkan_enable_f16_on_nvidia', [...features].sort().join(' '));
}

const chains = 8;
const floatRounds = 4096;
/** `chains` independent multiply-adds in each of `floatRounds` rounds. */
const floatRate = `
@group(0) @binding(0) var<storage, read_write> data: array<f32>;
@compute @workgroup_size(256) fn main(@builtin(global_invocation_id) id: vec3u) {
  let a = data[id.x % 65536u];
  let b = data[(id.x + 7u) % 65536u];
  ${Array.from({ length: chains }, (_, i) => `var x${i} = data[(id.x + ${i}u) % 65536u];`).join('\n  ')}
  for (var round = 0u; round < ${floatRounds}u; round++) {
    ${Array.from({ length: chains }, (_, i) => `x${i} = fma(x${i}, a, b);`).join('\n    ')}
  }
  data[id.x] = ${Array.from({ length: chains }, (_, i) => `x${i}`).join(' + ')};
}`;

const matrixRounds = 2048;
/** Four by four matrices a subgroup: 16 products of M x N x K a round. */
function matrixRate({ componentType: c, resultComponentType: r, M, N, K }) {
  const tiles = (count, body) => Array.from({ length: count }, (_, i) => body(i)).join('\n  ');
  return `
enable f16;
enable chromium_experimental_subgroup_matrix;
@group(0) @binding(0) var<storage, read_write> operands: array<${c}>;
@group(0) @binding(1) var<storage, read_write> results: array<${r}>;
@compute @workgroup_size(128) fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  ${tiles(4, (i) => `let a${i} = subgroupMatrixLoad<subgroup_matrix_left<${c}, ${K}, ${M}>, row_major>(&operands, ${i * M * K}u, ${K}u);`)}
  ${tiles(4, (i) => `let b${i} = subgroupMatrixLoad<subgroup_matrix_right<${c}, ${N}, ${K}>, row_major>(&operands, ${(4 + i) * Math.max(M, N) * K}u, ${N}u);`)}
  ${tiles(16, (i) => `var d${i}: subgroup_matrix_result<${r}, ${N}, ${M}>;`)}
  for (var round = 0u; round < ${matrixRounds}u; round++) {
    ${tiles(16, (i) => `d${i} = subgroupMatrixMultiplyAccumulate(a${Math.floor(i / 4)}, b${i % 4}, d${i});`)}
  }
  let at = (group.x * 4u + thread / 32u) * ${16 * M * N}u;
  ${tiles(16, (i) => `subgroupMatrixStore<row_major>(&results, at + ${i * M * N}u, d${i}, ${N}u);`)}
}`;
}

/** Fastest of five runs in seconds, by the queue's end: one run takes milliseconds. */
async function time(device, code, buffers, groups) {
  device.pushErrorScope('validation');
  const module = device.createShaderModule({ code });
  const pipeline = await device.createComputePipelineAsync({
    layout: 'auto',
    compute: { module, entryPoint: 'main' },
  });
  const group = device.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: buffers.map((buffer, binding) => ({ binding, resource: { buffer } })),
  });
  let best = Number.POSITIVE_INFINITY;
  for (let run = 0; run < 6; run++) {
    const start = performance.now();
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(groups);
    pass.end();
    device.queue.submit([encoder.finish()]);
    await device.queue.onSubmittedWorkDone();
    if (run > 0) best = Math.min(best, performance.now() - start);
  }
  const error = await device.popErrorScope();
  if (error) throw error;
  return best / 1000;
}

function randomBuffer(device, bytes, half) {
  const buffer = device.createBuffer({ size: bytes, usage: 128 /* STORAGE */, mappedAtCreation: true });
  const range = buffer.getMappedRange();
  if (half) {
    // float16 in its bits: a random sign and fraction, an exponent for 1/4 or 1/2.
    const numbers = new Uint16Array(range);
    const bits = (count) => Math.floor(Math.random() * 2 ** count);
    for (let i = 0; i < numbers.length; i++) numbers[i] = (bits(1) << 15) | ((13 + bits(1)) << 10) | bits(10);
  } else {
    const numbers = new Float32Array(range);
    for (let i = 0; i < numbers.length; i++) numbers[i] = Math.random() * 2 - 1;
  }
  buffer.unmap();
  return buffer;
}

async function floatPart(device, groups) {
  const seconds = await time(device, floatRate, [randomBuffer(device, groups * 256 * 4, false)], groups);
  write('float32 multiply-adds', (groups * 256 * chains * floatRounds * 2) / seconds / 1e12, 'TFLOP/s');
}

async function matrixPart(device, shape, groups) {
  const { componentType, resultComponentType, M, N, K } = shape;
  const name = `subgroup matrices ${componentType} to ${resultComponentType} ${M}x${N}x${K}`;
  if (componentType !== 'f16' && componentType !== 'f32') return write(name, 'there');
  try {
    const half = componentType === 'f16';
    const operands = randomBuffer(device, 8 * Math.max(M, N) * K * (half ? 2 : 4), half);
    const bytes = groups * 4 * 16 * M * N * (resultComponentType === 'f16' ? 2 : 4);
    const output = device.createBuffer({ size: bytes, usage: 128 });
    const seconds = await time(device, matrixRate(shape), [operands, output], groups);
    return write(name, (groups * 4 * 16 * matrixRounds * 2 * M * N * K) / seconds / 1e12, 'TFLOP/s');
  } catch (error) {
    return fail(name, error);
  }
}

/** Why there is no GPU, and what to do, as the engine says it. */
async function whyNone() {
  const { countedAdapters } = await import('../../dist/engine/webgpu/adapters.js');
  return countedAdapters().then(
    () => 'no GPU adapter was found',
    (error) => error,
  );
}

async function main() {
  // Held until the end: when it is collected, so is the device under it. Dawn keeps f16 from NVIDIA's Vulkan unless told otherwise.
  const gpu = create(['enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia']);
  const adapter = await gpu.requestAdapter();
  if (!adapter) {
    fail('webgpu device', await whyNone());
    process.exit(1);
  }
  describe(adapter);
  const device = await adapter.requestDevice(deviceOptions(adapter));
  const small = /swiftshader|llvmpipe/i.test(`${adapter.info.device} ${adapter.info.description}`);
  try {
    await floatPart(device, small ? 4 : 4096);
    for (const shape of adapter.info.subgroupMatrixConfigs ?? []) await matrixPart(device, shape, small ? 1 : 1056);
  } finally {
    device.destroy();
  }
}

try {
  await main();
  process.exit(0);
} catch (error) {
  fail('WebGPU', error);
  process.exit(1);
}

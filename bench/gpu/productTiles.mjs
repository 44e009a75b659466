/**
 * How fast each tile of the table for products (src/engine/webgpu/kernels/productPlan.ts) is on this GPU, and its matrix units: node
 * bench/gpu/productTiles.mjs RESULTS.jsonl. Needs the built project. Products of a layer of GPT-2 124M at 1,024 tokens; random operands.
 */
import { appendFileSync } from 'node:fs';
import { product } from '../../dist/engine/webgpu/kernels/product.js';
import { gpuPlans, matrixPlan, planFor } from '../../dist/engine/webgpu/kernels/productPlan.js';
import { openGpu } from '../../dist/engine/webgpu/openDevice.js';

const [, , results] = process.argv;
/** Rows are tokens; the last is the gradient of a weight. */
const shapes = [
  { m: 1024, n: 3072, k: 768 },
  { m: 1024, n: 768, k: 768 },
  { m: 768, n: 3072, k: 1024, transposeA: true },
];
const calls = 20;

function put(record) {
  const line = `${JSON.stringify({ part: 'webgpu', ...record })}\n`;
  appendFileSync(results, line);
  process.stdout.write(line);
}

const nameOf = ({ program, rows, columns, depth, threadRows, threadColumns }) =>
  [
    program,
    ...(rows ? [`${rows}×${columns}×${depth}`] : []),
    ...(threadRows ? [`${threadRows}×${threadColumns}`] : []),
  ].join(' ');

function randomTensor(gpu, size) {
  const tensor = gpu.memory.alloc([size], 'float32');
  gpu.commands.write(
    tensor.buffer,
    tensor.byteOffset,
    Float32Array.from({ length: size }, () => Math.random() - 0.5),
  );
  return tensor;
}

/** Milliseconds of a call, the best of five rounds. */
async function timeOf(gpu, shape, plan, half) {
  const { m, n, k } = shape;
  const tensors = [m * n, m * k, k * n].map((size) => randomTensor(gpu, size));
  const [out, a, b] = tensors.map((tensor) => ({ tensor }));
  const call = () => product(gpu, { ...shape, out, a, b, half, ...(plan && { plan }) });
  call();
  await gpu.commands.finish();
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 5; round++) {
    const start = performance.now();
    for (let i = 0; i < calls; i++) call();
    await gpu.commands.finish();
    best = Math.min(best, (performance.now() - start) / calls);
  }
  for (const tensor of tensors) gpu.memory.release(tensor);
  return best;
}

const gpu = await openGpu();
const plans = [...new Map(gpuPlans.map((plan) => [nameOf(plan), plan])).values()];
for (const element of ['f32', 'f16']) {
  const half = element === 'f16';
  if (half && !gpu.hasFloat16) continue;
  const unit = gpu.matrixUnits[element];
  for (const shape of shapes) {
    const own = nameOf(planFor(gpu, { ...shape, half }));
    for (const plan of [...plans, ...(unit ? [matrixPlan(unit)] : [])]) {
      const { m, n, k } = shape;
      const name = `product ${element} ${m}×${k}×${n}, ${nameOf(plan)}${nameOf(plan) === own ? ' (its own)' : ''}`;
      try {
        const ms = await timeOf(gpu, shape, plan, half);
        put({ name, value: (2 * m * n * k) / ms / 1e9, unit: 'TFLOP/s', ms });
      } catch (error) {
        put({ name, failed: String(error.message).split('\n')[0].slice(0, 300) });
      }
    }
  }
}
await gpu.close();
process.exit(0);

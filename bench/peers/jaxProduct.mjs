/**
 * A matrix product of jax-js on WebGPU, for `npm run bench -- engine --engine webgpu`: the line protocol of productPeer.h. Functions of jax-js
 * take ownership of their arguments; `.ref` keeps one for later.
 */
import { createInterface } from 'node:readline';
import { openJax } from './jaxJs.mjs';

const { jax, version } = await openJax();
const { numpy: np, jit, blockUntilReady } = jax;

// The same values as cycledValues in bench/engine/kernelCase.ts, and the same sum as there.
const operand = (rows, columns) =>
  np
    .array(Float32Array.from({ length: rows * columns }, (_, i) => ((i * 7919) % 8191) / 8191 - 0.5))
    .reshape([rows, columns]);
function checksum(values) {
  const stride = Math.floor(values.length / 100_000) + 1;
  let sum = 0;
  for (let i = 0; i < values.length; i += stride) sum += values[i] * ((i % 7) + 1);
  return sum;
}

let a;
let b;
let c;
let compute;

function prepare([m, k, n, transposedA, transposedB, accumulate]) {
  for (const array of [a, b, c]) array?.dispose();
  a = transposedA ? operand(k, m) : operand(m, k);
  b = transposedB ? operand(n, k) : operand(k, n);
  c = np.zeros([m, n]);
  const factor = (array, isTransposed) => (isTransposed ? np.transpose(array) : array);
  const product = (left, right) => np.matmul(factor(left, transposedA), factor(right, transposedB));
  const compiled = accumulate ? jit((left, right, sum) => sum.add(product(left, right))) : jit(product);
  compute = () => {
    const next = accumulate ? compiled(a.ref, b.ref, c) : compiled(a.ref, b.ref);
    if (!accumulate) c.dispose();
    c = next;
  };
}

/** Microseconds of a call. */
async function timeOf(repetitions) {
  await blockUntilReady(c.ref);
  const start = performance.now();
  for (let i = 0; i < repetitions; i++) compute();
  await blockUntilReady(c.ref);
  return (1000 * (performance.now() - start)) / repetitions;
}

let callUs = 0;
process.stdout.write(`ready ${version}\n`);
for await (const line of createInterface({ input: process.stdin })) {
  const [word, first, ...numbers] = line.split(' ');
  if (word === 'prepare' && first !== 'f32') process.stdout.write('unsupported\n');
  else if (word === 'prepare') {
    prepare(numbers.map(Number));
    compute();
    const sum = checksum(await c.ref.data());
    await timeOf(1);
    callUs = await timeOf(1);
    process.stdout.write(`ok ${sum}\n`);
  } else if (word === 'time') {
    if (callUs < 150e3) compute();
    callUs = await timeOf(Math.max(1, Math.round((1000 * Number(first)) / callUs)));
    process.stdout.write(`us ${callUs}\n`);
  } else throw new Error(`expected prepare or time, received ${line}`);
}
process.exit(0);

/**
 * Training steps of the same GPT in jax-js: forward, backward, clipping, AdamW, as two compiled functions. What `npm run bench -- training
 * --engine webgpu` compares with:
 *
 *     node bench/peers/jaxStep.mjs --layers 4 --heads 4 --width 128 --block 64 --batch 12 --vocab 65 [--dropout 0.1] [--bias]
 *
 * It answers lines on standard input as pytorchStep.py --serve does: `ready VERSION`, then for each `step` the `ms` that it took.
 * Functions of jax-js take ownership of their arguments; `.ref` keeps one for later. B batch, T time, C channels, NH heads, HS head size.
 */
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { openJax } from './jaxJs.mjs';

const number = { type: 'string' };
const { values: given } = parseArgs({
  options: {
    ...{ layers: number, heads: number, width: number, block: number, batch: number, vocab: number },
    ...{ dropout: { type: 'string', default: '0' }, bias: { type: 'boolean', default: false } },
  },
});
const { bias, ...sizes } = given;
const {
  layers,
  heads,
  width: C,
  block: T,
  batch: B,
  vocab: V,
  dropout,
} = Object.fromEntries(Object.entries(sizes).map(([name, text]) => [name, Number(text)]));
const HS = C / heads;

const { jax, version } = await openJax();
const { numpy: np, nn, random, jit, tree, valueAndGrad, vjp, blockUntilReady } = jax;

let keys = 0;
const normal = (...shape) => random.normal(random.key(++keys), shape).mul(0.02);
const withBias = (size) => (bias ? { bias: np.zeros([size]) } : {});
const linear = (inputs, outputs) => ({ weight: normal(inputs, outputs), ...withBias(outputs) });
const norm = () => ({ weight: np.ones([C]), ...withBias(C) });
const parameters = {
  tokens: normal(V, C),
  positions: normal(T, C),
  blocks: Array.from({ length: layers }, () => ({
    ...{ norm1: norm(), qkv: linear(C, 3 * C), out: linear(C, C) },
    ...{ norm2: norm(), up: linear(C, 4 * C), down: linear(4 * C, C) },
  })),
  norm: norm(),
};

const plusBias = (x, { bias: b }) => (b === undefined ? x : x.add(b));
const applyLinear = (x, layer) => plusBias(np.matmul(x, layer.weight), layer);
const applyNorm = (x, layer) => plusBias(nn.standardize(x, -1, { epsilon: 1e-5 }).mul(layer.weight), layer);

/** A function that drops channels; each call has its own key. */
function dropoutFrom(seed) {
  let site = 0;
  return (x) => {
    if (dropout === 0) return x;
    const kept = random.uniform(random.key(seed.ref.add(++site)), x.shape).less(1 - dropout);
    return np.where(kept, x.div(1 - dropout), 0);
  };
}

function attend(qkv, mask) {
  // [B, T, 3 C] as [3, B, NH, T, HS]
  const parts = np.transpose(qkv.reshape([B, T, 3, heads, HS]), [2, 0, 3, 1, 4]);
  const [q, k, v] = np.split(parts, 3, 0).map((part) => part.reshape([B, heads, T, HS]));
  const scores = np.matmul(q, np.transpose(k, [0, 1, 3, 2])).mul(1 / Math.sqrt(HS));
  const weights = nn.softmax(np.where(mask, scores, -1e30), -1);
  return np.transpose(np.matmul(weights, v), [0, 2, 1, 3]).reshape([B, T, C]);
}

/** The mean loss, given the embeddings of the tokens [B, T, C] and targets [B, T]. */
function lossOf({ tokens: wte, positions, blocks, norm: last }, embeddings, targets, seed) {
  const drop = dropoutFrom(seed);
  const mask = np.tri(T).greater(0);
  let x = drop(embeddings.add(positions));
  for (const { norm1, qkv, out, norm2, up, down } of blocks) {
    const attended = attend(applyLinear(applyNorm(x.ref, norm1), qkv), mask.ref);
    x = x.add(drop(applyLinear(attended, out)));
    const inner = nn.gelu(applyLinear(applyNorm(x.ref, norm2), up), { approximate: true });
    x = x.add(drop(applyLinear(inner, down)));
  }
  mask.dispose();
  seed.dispose();
  const logits = np.matmul(applyNorm(x, last).reshape([B * T, C]), np.transpose(wte));
  const wanted = nn.oneHot(targets.reshape([B * T]), V);
  return wanted
    .mul(nn.logSoftmax(logits, -1))
    .sum()
    .div(-B * T);
}

const [beta1, beta2, eps, decay, rate] = [0.9, 0.99, 1e-8, 0.1, 1e-4];

/** AdamW with clipping to a norm of 1; the state is [parameters, m, v] of one list of arrays. */
function update(state, gradients, correction1, correction2) {
  const squared = gradients.map((g) => np.square(g.ref).sum()).reduce((a, b) => a.add(b));
  const scale = np.minimum(np.reciprocal(np.sqrt(squared).add(1e-6)), 1);
  const next = state.map(([p, m, v], i) => {
    const g = gradients[i].mul(scale.ref);
    const nextM = m.mul(beta1).add(g.ref.mul(1 - beta1));
    const nextV = v.mul(beta2).add(np.square(g).mul(1 - beta2));
    const step = nextM.ref.mul(correction1.ref).div(np.sqrt(nextV.ref.mul(correction2.ref)).add(eps));
    const matrix = p.shape.length > 1 ? 1 - rate * decay : 1;
    return [p.mul(matrix).sub(step.mul(rate)), nextM, nextV];
  });
  for (const used of [scale, correction1, correction2]) used.dispose();
  return next;
}

const [leaves, structure] = tree.flatten(parameters);
let state = leaves.map((p) => [p, np.zeros(p.shape), np.zeros(p.shape)]);
const gradientsOf = jit((...args) => valueAndGrad(lossOf, { argnums: [0, 1] })(...args));
const updated = jit(update);
let steps = 0;
let lastLoss = 0;

async function step() {
  const start = performance.now();
  steps += 1;
  const text = Int32Array.from({ length: B * (T + 1) }, () => Math.floor(Math.random() * V));
  const slice = (from) => {
    const rows = Int32Array.from({ length: B * T }, (_, i) => text[Math.floor(i / T) * (T + 1) + (i % T) + from]);
    return np.array(rows, { dtype: np.int32 }).reshape([B, T]);
  };
  const params = tree.unflatten(
    structure,
    state.map(([p]) => p.ref),
  );
  const seed = np.array(1000 * steps, { dtype: np.uint32 });
  // Not in the compiled function: jax-js 0.1.25 cannot compile the gradient of a look-up there.
  const tokens = slice(0);
  const [embeddings, lookUpBackward] = vjp((wte) => np.take(wte, tokens, 0), [params.tokens.ref]);
  const [loss, [gradients, embeddingGradient]] = gradientsOf(params, embeddings, slice(1), seed);
  const [ofLookUp] = lookUpBackward(embeddingGradient);
  gradients.tokens = gradients.tokens.add(ofLookUp);
  const corrections = [beta1, beta2].map((beta) => np.array(1 / (1 - beta ** steps)));
  state = updated(state, tree.leaves(gradients), ...corrections);
  lastLoss = (await loss.data())[0];
  await blockUntilReady(state.map((arrays) => arrays.map((array) => array.ref)));
  return performance.now() - start;
}

process.stdout.write(`ready ${version}\n`);
for await (const line of createInterface({ input: process.stdin })) {
  if (!line.startsWith('step')) throw new Error(`expected step, received ${line}`);
  const ms = await step();
  if (!Number.isFinite(lastLoss)) throw new Error(`the loss of step ${steps} is ${lastLoss}`);
  process.stdout.write(`ms ${ms}\n`);
}
process.exit(0);

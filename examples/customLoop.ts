/**
 * Your own training loop, like nanoGPT's train.py, on one machine. After `npm run build`:
 *
 *   node build/examples/customLoop.js input.txt [steps]
 *
 * B is the batch size, T the sequence length (blockSize). For your own loss, see `Tape` and `GPT` in the reference.
 */
import {
  addSums,
  createEngine,
  learningRateAt,
  meansOf,
  noSums,
  openDataset,
  saveCheckpoint,
  Trainer,
  trainBatch,
  valBatches,
} from 'lockstep';

const [text, steps = '300'] = process.argv.slice(2);
if (text === undefined) throw new Error('expected a text file: node build/examples/customLoop.js input.txt');
const maxSteps = Number(steps);
const [B, T, gradAccumSteps, seed] = [12, 64, 1, 1337];
const globalBatchSize = B * gradAccumSteps;
const adamw = { beta1: 0.9, beta2: 0.99, eps: 1e-8, weightDecay: 0.1, gradClip: 1 };
const rates = { learningRate: 1e-3, minLearningRate: 1e-4, warmupSteps: 20, decaySteps: maxSteps };
const drawing = { seed, count: B, globalBatchSize, blockSize: T, sampler: 'random' } as const;
const form = { architecture: 'gpt2', dropout: 0, bias: true, activation: 'gelu', tiedHead: true } as const;

const data = { text, tokenizer: 'char', valFraction: 0.1 } as const;
const dataset = await openDataset(data, { blockSize: T, cwd: process.cwd() });
const engine = await createEngine({ name: 'auto' });
try {
  const sizes = { nLayer: 4, nHead: 4, nEmbd: 128, blockSize: T, vocabSize: dataset.vocabSize };
  const trainer = new Trainer(engine, { ...sizes, ...form }, { seed }); // parameters, gradients, moments, AdamW

  for (let step = 0; step < maxSteps; step++) {
    let sums = noSums;
    for (let micro = 0; micro < gradAccumSteps; micro++) {
      const batch = trainBatch(dataset, { ...drawing, step, from: micro * B });
      const lossScale = 1 / (globalBatchSize * T); // every target has the same weight
      sums = addSums(sums, await trainer.microStep({ ...batch, lossScale })); // adds to the gradients
    }
    const learningRate = learningRateAt(step, { kind: 'cosine', ...rates });
    const { gradNorm } = await trainer.applyAdamw({ ...adamw, learningRate, step: step + 1 }); // zeroes the gradients
    const { loss } = meansOf(sums);
    if (step % 10 === 0) console.log(`step ${step}  loss ${loss.toFixed(4)}  grad norm ${gradNorm.toFixed(2)}`);
  }

  let sums = noSums;
  for (const batch of valBatches(dataset.val, { blockSize: T, batchSize: B, batches: 20 })) {
    sums = addSums(sums, await trainer.evaluate(batch));
  }
  const { loss: valLoss } = meansOf(sums);
  const config = { data, train: { seed, globalBatchSize } };
  const path = await saveCheckpoint('runs/custom', trainer, { step: maxSteps, dataset, valLoss, config });
  console.log(`validation loss ${valLoss.toFixed(4)} on ${engine.description}, ${path}`);
} finally {
  await engine.dispose();
}

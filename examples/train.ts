/**
 * Trains on your text, then generates a continuation. After `npm run build`:
 *
 *   node build/examples/train.js input.txt [steps]
 *
 * Ctrl-C stops the run after its step, with a checkpoint; `npx launch --resume runs/…` resumes it.
 */
import { loadCheckpoint, train, UserError } from 'lockstep';

const [text, steps = '500'] = process.argv.slice(2);
if (text === undefined) throw new UserError('expected a text file: node build/examples/train.js input.txt');

const interrupt = new AbortController();
process.once('SIGINT', () => interrupt.abort());

const { step, valLoss, runDir, checkpoint, stopped } = await train({
  config: {
    data: { text, tokenizer: 'char' },
    model: { nLayer: 4, nHead: 4, nEmbd: 128, blockSize: 64 },
    train: { workers: 2, maxSteps: Number(steps), globalBatchSize: 12 },
    schedule: { learningRate: 1e-3, minLearningRate: 1e-4, warmupSteps: 10 },
    eval: { everySteps: 100 },
    sample: { maxTokens: 0 },
  },
  signal: interrupt.signal,
  listener: {
    step: ({ step, loss, tokensPerSecond }) => {
      if (step % 10 === 0)
        console.log(`step ${step}  loss ${loss.toFixed(4)}  ${Math.round(tokensPerSecond)} tokens/s`);
    },
    evaluated: ({ step, valLoss }) => console.log(`step ${step}  validation loss ${valLoss.toFixed(4)}`),
    warning: (line) => console.warn(line),
  },
});
console.log(`${stopped ? 'stopped' : 'done'} at step ${step}, validation loss ${valLoss?.toFixed(4)}, in ${runDir}`);

if (checkpoint !== undefined && !stopped) {
  const model = await loadCheckpoint(checkpoint);
  for await (const piece of model.generate('\n', { maxTokens: 200 })) process.stdout.write(piece);
  console.log();
  await model.dispose();
}

/** A program that depends on Lockstep as on any package; library.test.ts runs it in a folder of its own, with one of these tasks. */
import { existsSync } from 'node:fs';
import { loadCheckpoint, PeerError, train, UserError, version } from 'lockstep';

const [task, text, runDir] = process.argv.slice(2);
const config = {
  data: { text, tokenizer: 'char' },
  model: { nLayer: 2, nHead: 2, nEmbd: 32, blockSize: 32 },
  train: { workers: 2, maxSteps: 6, globalBatchSize: 12 },
  schedule: { warmupSteps: 2 },
  eval: { everySteps: 3 },
  checkpoint: { everySteps: 3 },
  sample: { maxTokens: 0 },
};
const told = [];
const listener = {
  step: ({ step }) => told.push(`step ${step}`),
  evaluated: ({ step }) => told.push(`evaluated ${step}`),
  checkpoint: (outcome) => told.push(`checkpoint ${outcome.step}`),
  note: (line) => told.push(`note ${line}`),
  warning: (line) => told.push(`warning ${line}`),
};
const singleProcess = task.endsWith('SingleProcess');

/** What a call that must fail threw. */
async function thrownBy(promise) {
  return promise.then(
    () => 'nothing',
    (error) => ({
      name: error.name,
      message: error.message,
      isUser: error instanceof UserError,
      isPeer: error instanceof PeerError,
    }),
  );
}

async function textOf(pieces) {
  let all = '';
  for await (const piece of pieces) all += piece;
  return all;
}

const tasks = {
  async train() {
    return { summary: await train({ config, runDir, singleProcess, listener }), told, version };
  },
  async resume() {
    const summary = await train({ resume: runDir, overrides: ['train.maxSteps=8'], listener });
    return { summary, told: [...told], finished: await train({ resume: runDir }) };
  },
  async stop() {
    const controller = new AbortController();
    const step = ({ step }) => step === 4 && controller.abort();
    const endless = { ...config, train: { ...config.train, maxSteps: 100_000 } };
    const summary = await train({
      config: endless,
      runDir,
      singleProcess,
      signal: controller.signal,
      listener: { step },
    });
    return { summary, again: await thrownBy(train({ config, signal: controller.signal })) };
  },
  async fail() {
    const broken = {
      step() {
        throw new RangeError('the listener is broken');
      },
    };
    return {
      listener: await thrownBy(train({ config, runDir, singleProcess, listener: broken })),
      workers: await thrownBy(train({ config, workers: 0 })),
      config: await thrownBy(train({ config: { model: { nLayers: 3 } } })),
      text: await thrownBy(train({ config: { data: { text: 'absent.txt' } }, runDir: 'never' })),
      madeNothing: !existsSync('never') && !existsSync('runs'),
    };
  },
  async model() {
    const model = await loadCheckpoint(runDir);
    const greedy = { maxTokens: 50, temperature: 0 };
    const alone = [await textOf(model.generate('the ', greedy)), await textOf(model.generate('of ', greedy))];
    const together = await Promise.all([textOf(model.generate('the ', greedy)), textOf(model.generate('of ', greedy))]);
    const signal = AbortSignal.timeout(20);
    const aborted = await thrownBy(textOf(model.generate('the ', { maxTokens: 1e6, signal })));
    const evaluation = await model.evaluate('the cat sat on the mat');
    const short = await thrownBy(model.evaluate('a'));
    const { step, path } = model;
    await model.dispose();
    await model.dispose();
    return { alone, together, aborted, evaluation, short, step, path, disposed: await thrownBy(model.evaluate('the')) };
  },
};

const handlers = () => ['SIGINT', 'SIGTERM', 'exit', 'uncaughtException'].map((name) => process.listenerCount(name));
const before = handlers();
const result = await tasks[task.replace('SingleProcess', '')]();
// Nothing may be left but what the result is written to, and files that are about to be closed: the program ends by itself.
const left = process
  .getActiveResourcesInfo()
  .filter((name) => !/^(PipeWrap|TTYWrap|Immediate|FSReq\w+|CloseReq)$/.test(name));
process.stdout.write(`${JSON.stringify({ ...result, left, handlersAdded: String(handlers()) !== String(before) })}\n`);

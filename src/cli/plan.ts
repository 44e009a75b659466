/** `--dry-run`: the model and data of a run, and the memory that each worker needs. */
import { architectureOf, parameterCount } from '../architecture/registry.ts';
import { trainedCount } from '../architecture/trainable.ts';
import { countOf, grouped } from '../base/numberText.ts';
import type { Config } from '../config/configTypes.ts';
import { modelOf } from '../config/groups/model.ts';
import type { RunData } from '../data/runData.ts';
import { findEngine, planDeviceEngine } from '../engine/registry.ts';
import { checkpointCopyBytes, memoryPerWorker } from '../model/memoryPlan.ts';
import { estimatedTimes } from './estimate.ts';
import { print } from './output.ts';
import { bytes } from './progress.ts';
import { rolloutPlan } from './rolloutPlan.ts';

export async function printPlan(config: Config, data: RunData): Promise<void> {
  const { model, train, task } = config;
  const { vocabSize, kind } = data;
  const modelConfig = modelOf(model, vocabSize);
  const policy = rolloutPlan(config, data);
  const engine = await findEngine(config.engine);
  const isMissing = 'missing' in engine;
  // The GPU of the first worker stands for all.
  const plannedOn = isMissing ? undefined : await planDeviceEngine(config.engine, engine);
  const { total, caches, ...parts } = memoryPerWorker(modelConfig, {
    ...train,
    precision: config.engine.precision,
    pairs: task.kind === 'dpo' || task.kind === 'reward',
    policy: policy?.drawn,
    ema: config.optimizer.ema,
    kind: config.optimizer.kind,
    plannedOn,
  });
  const stepTokens = Math.round(train.globalBatchSize * data.sampleTokens);
  const samples = Math.min(
    train.globalBatchSize * train.maxSteps,
    (train.epochs || Number.POSITIVE_INFINITY) * data.epochSamples,
  );
  const [count, trained] = [parameterCount(modelConfig), trainedCount(modelConfig, train.trainable)];
  const frozen = trained === count ? '' : `, ${grouped(trained)} of them trained (train.trainable)`;
  print(`model        ${grouped(count)} parameters${frozen}`);
  const { name, summary } = architectureOf(modelConfig);
  print(`             ${name}: ${summary(modelConfig)}, context ${model.blockSize}, vocabulary ${grouped(vocabSize)}`);
  print(`data         ${data.description}`);
  const [about, what] = kind === 'text' ? ['', 'sequences'] : ['about ', 'examples'];
  print(
    `step         ${about}${grouped(stepTokens)} tokens: ${train.globalBatchSize} ${what} over ${countOf(train.workers, 'worker')}`,
  );
  print(
    `run          ${countOf(train.maxSteps, 'step')}, ${about}${grouped(Math.round(samples * data.sampleTokens))} tokens (${(samples / data.epochSamples).toFixed(1)} times the ${kind})`,
  );
  if (policy !== undefined) print(`rollouts     ${policy.description}`);
  const times = isMissing
    ? [`not estimated: ${engine.missing}`]
    : await estimatedTimes(config, data, { rollouts: policy });
  for (const [i, time] of times.entries()) print(`${(i === 0 ? 'time' : '').padEnd(12)} ${time}`);
  print(`memory       ${bytes(total)} per worker, ${bytes(total * train.workers)} in total`);
  if (plannedOn !== undefined) print(`             on the GPU of a worker`);
  else if (!isMissing && engine.name !== 'native') print(`             for the native engine; ${engine.name} differs`);
  for (const [name, size] of Object.entries(parts)) print(`  ${name.padEnd(14)} ${bytes(size)}`);
  if (policy !== undefined && caches !== undefined) {
    print(
      `  of rollouts    ${bytes(caches)} at most for the keys and values of ${policy.drawn.count} answers, while no activations are held`,
    );
  }
  print(
    `  first worker   up to ${bytes(checkpointCopyBytes(modelConfig, train.trainable, config.optimizer))} extra while a checkpoint is being sent`,
  );
}

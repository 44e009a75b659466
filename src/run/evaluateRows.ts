/** Evaluates a classifier or a reward model over rows, as its run evaluates them. */
import { labelsOf } from '../architecture/registry.ts';
import { UserError } from '../base/errors.ts';
import { meansOf } from '../base/sums.ts';
import { exampleSamples } from '../data/examples/exampleSamples.ts';
import { exampleTask } from '../data/examples/exampleTask.ts';
import { readRows } from '../data/examples/readRows.ts';
import type { SourceFormat } from '../data/prepare/fileKinds.ts';
import { evaluateBatches } from '../model/evaluation.ts';
import { tokenLogprobs } from '../model/logprobs.ts';
import { reward } from '../model/objectives/reward.ts';
import { type Classified, classMeasures, noConfusion } from '../task/classMeasures.ts';
import { evaluationBatches, logitsOf } from './classifyTexts.ts';
import type { LoadedModel } from './loadModel.ts';

export interface EvaluateRowsOptions {
  /** Files, folders and globs. */
  readonly paths: readonly string[];
  /** Absent: determined by names and content. */
  readonly format?: SourceFormat | undefined;
  readonly cwd: string;
  readonly onNotice: (line: string) => void;
  readonly onProgress: (done: number) => void;
}

/** The measures of a classifier. */
export interface ClassesEvaluation extends Classified {
  readonly rows: number;
  /** Mean cross entropy in nats. */
  readonly loss: number;
}

/** The measures of a reward model. */
export interface PairsEvaluation {
  readonly rows: number;
  /** Mean of -log σ(margin), in nats. */
  readonly loss: number;
  /** Fraction of pairs whose chosen answer has the higher score. */
  readonly accuracy: number;
  /** Mean difference of the scores. */
  readonly margin: number;
}

/** @throws UserError for a language model, and for rows that are missing or do not fit the model */
export async function evaluateRows(
  loaded: LoadedModel,
  { paths, format, cwd, onNotice, onProgress }: EvaluateRowsOptions,
): Promise<ClassesEvaluation | PairsEvaluation> {
  const { model, tokenizer, runConfig } = loaded;
  const labels = labelsOf(model.config);
  if (labels.length === 0) throw new UserError('a language model is evaluated on text, not on rows');
  const columns = runConfig?.data.columns ?? [];
  const rows = await readRows({ paths, setting: '--data', cwd, columns, format, onNotice });
  const { task } = await exampleTask(
    { train: rows, all: rows },
    {
      kind: labels.length === 1 ? 'reward' : 'classify',
      template: runConfig?.task.template ?? 'auto',
      labels,
      tokenizerKind: tokenizer.kind,
      tokenizer,
      cwd,
    },
  );
  const [samples = []] = await exampleSamples([rows], {
    task,
    blockSize: model.config.blockSize,
    tooLong: runConfig?.task.tooLong ?? 'truncatePrompt',
    canLengthen: false,
    onNotice,
    onProgress: () => undefined,
  });
  if (labels.length === 1) {
    const batches = evaluationBatches(model.config, task.form.fields, samples);
    let done = 0;
    const sums = await evaluateBatches({ ...loaded, objective: reward }, batches, ({ sampleCount }) => {
      done += sampleCount;
      onProgress(done / samples.length);
    });
    const { loss, others } = meansOf(sums);
    return { rows: samples.length, loss, accuracy: others['accuracy'] ?? 0, margin: others['margin'] ?? 0 };
  }
  const confusion = noConfusion(labels.length);
  let [loss, done] = [0, 0];
  for await (const logits of logitsOf(loaded, samples)) {
    const target = Array.from(samples[done++]!['targets']!).find((value) => value >= 0)!;
    const { logprob, top } = tokenLogprobs(logits, target, 1);
    loss -= logprob;
    confusion[target]![top[0]!.token]!++;
    onProgress(done / samples.length);
  }
  return { rows: samples.length, loss: loss / samples.length, ...classMeasures(confusion, labels) };
}

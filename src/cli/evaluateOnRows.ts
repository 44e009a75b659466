/** `launch eval` on rows: the measures of what the model was trained for, or of another task of a language model. */
import { hasEncoder, labelsOf } from '../architecture/registry.ts';
import { UserError } from '../base/errors.ts';
import { countOf, grouped } from '../base/numberText.ts';
import { builtinRows } from '../data/examples/builtinRows.ts';
import { readRows } from '../data/examples/readRows.ts';
import type { SourceFormat } from '../data/prepare/fileKinds.ts';
import { evaluateAnswers } from '../run/evaluateAnswers.ts';
import { type ChoicesEvaluation, evaluateChoices } from '../run/evaluateChoices.ts';
import {
  type AnswersEvaluation,
  type ClassesEvaluation,
  evaluateRows,
  type PairsEvaluation,
  type PreferencesEvaluation,
  type RowsEvaluation,
} from '../run/evaluateRows.ts';
import type { Evaluator } from '../run/evaluationParts.ts';
import type { LoadedModel } from '../run/loadModel.ts';
import type { RowSplit } from '../run/rowsToEvaluate.ts';
import { type AnswersBleu, answersBleu } from '../task/bleu.ts';
import { type ExactMatch, exactMatch } from '../task/exactMatch.ts';
import { type BeamArguments, beamsOf } from './beamOptions.ts';
import { columnNames } from './columns.ts';
import { statusLine } from './terminal.ts';

/** What a language model can be evaluated on besides text. */
export const rowTasks = ['exact', 'bleu', 'choices'] as const;

/** The options of `eval` for rows, and those that do not apply to them. */
export interface EvaluateRowsArguments extends BeamArguments {
  readonly data: string | undefined;
  readonly format: SourceFormat | undefined;
  readonly columns: string | undefined;
  readonly field: string | undefined;
  readonly split: RowSplit;
  readonly task: (typeof rowTasks)[number] | undefined;
  readonly template: string | undefined;
  /** The file with the targets of a text file of sources. */
  readonly targets: string | undefined;
  readonly json: boolean;
}

type Measured = RowsEvaluation | ExactMatch | AnswersBleu | ChoicesEvaluation;

/**
 * Prints the measures over the rows of `--data`, or of the model's run.
 * @throws UserError for options and rows that do not fit the model
 */
export async function evaluateOnRows(
  loaded: LoadedModel,
  args: EvaluateRowsArguments,
  where: { readonly cwd: string; readonly evaluator: Evaluator | undefined },
): Promise<void> {
  const { data = null, split, json, task } = args;
  checkOptions(loaded, args);
  const evaluation = await evaluate(loaded, args, where);
  const { checkpoint, engine } = loaded;
  const facts = { checkpoint: checkpoint.path, step: checkpoint.step ?? null, engine: engine.description, data };
  const named = { ...facts, ...(data === null && { split }), ...(task && { task }) };
  process.stdout.write(json ? `${JSON.stringify({ ...named, ...evaluation })}\n` : textOf(evaluation));
}

function checkOptions({ model }: LoadedModel, args: EvaluateRowsArguments): void {
  const { data, field, format, columns, split, task, template, targets } = args;
  const hasLabels = labelsOf(model.config).length > 0;
  if (hasLabels && task !== undefined) {
    throw new UserError(`--task ${task} needs a language model, but this model has labels: omit --task`);
  }
  if (task === 'choices' && hasEncoder(model.config)) {
    throw new UserError(
      '--task choices compares continuations, but this model writes the target of a source: use --task exact or bleu, or omit it',
    );
  }
  const why = hasLabels ? 'this model has labels' : `--task ${task} reads rows`;
  if (data === undefined && task !== undefined) throw new UserError(`${why}: give rows to evaluate with --data`);
  if (data === undefined && (field ?? format ?? columns) !== undefined) {
    throw new UserError("--field, --format and --columns need --data: add it, or omit them to use the run's own rows");
  }
  if (field !== undefined) throw new UserError(`--field is for text, but ${why}: omit it`);
  if (data !== undefined && split !== 'val') {
    throw new UserError("--split is for text and for the run's own rows, but --data has rows: omit it");
  }
  const answers = task === 'exact' || task === 'bleu';
  if (template !== undefined && !answers) throw new UserError('--template is for --task exact and bleu: omit it');
  if (beamsOf(args).beams > 1 && !answers) {
    throw new UserError('--beams is for --task exact and bleu: add one, or omit it');
  }
  if (targets === undefined) return;
  if (data === undefined) throw new UserError('--targets needs --data, the text file of the sources: add it');
  if (!hasEncoder(model.config))
    throw new UserError('--targets is for models that translate (task.kind: seq2seq): omit it');
}

async function evaluate(
  loaded: LoadedModel,
  { data, targets, format, columns, split, task, template, ...args }: EvaluateRowsArguments,
  { cwd, evaluator }: { readonly cwd: string; readonly evaluator: Evaluator | undefined },
): Promise<Measured> {
  const onNotice = (line: string): void => void process.stderr.write(`${line}\n`);
  const onProgress = statusLine('evaluating');
  const read = { cwd, columns: columnNames(columns), format, onNotice };
  const paths = [data, targets].filter((path) => path !== undefined);
  if (task === undefined || data === undefined) {
    return evaluateRows(loaded, { ...read, paths, split, onProgress, evaluator });
  }
  const aligned = hasEncoder(loaded.model.config);
  const builtinPath = aligned ? builtinRows('seq2seq') : undefined;
  const rows = await readRows({ ...read, paths, setting: '--data', columns: read.columns ?? [], aligned, builtinPath });
  if (task === 'choices') return evaluateChoices(loaded, rows, onProgress, evaluator);
  const answering = { template, beams: beamsOf(args), cwd, onProgress, evaluator };
  return task === 'bleu'
    ? evaluateAnswers(loaded, rows, { ...answering, measure: answersBleu })
    : evaluateAnswers(loaded, rows, { ...answering, measure: exactMatch });
}

function textOf(evaluation: Measured): string {
  if ('exactMatch' in evaluation) return exactText(evaluation);
  if ('bleu' in evaluation) return bleuText(evaluation);
  if ('accNorm' in evaluation) return choicesText(evaluation);
  if ('perplexity' in evaluation) return answersText(evaluation);
  if ('chosenLogprob' in evaluation) return preferencesText(evaluation);
  return labelsText(evaluation);
}

function answersText({ rows, loss, perplexity, targets }: AnswersEvaluation): string {
  return (
    `loss ${loss.toFixed(4)}, perplexity ${perplexity.toPrecision(5)}, ` +
    `over ${grouped(targets)} tokens of ${countOf(rows, 'row')}\n`
  );
}

function preferencesText({ rows, accuracy, chosenLogprob, rejectedLogprob }: PreferencesEvaluation): string {
  const means = [chosenLogprob, rejectedLogprob].map((value) => value.toFixed(4));
  return (
    `chosen answer more probable ${percent(accuracy)}, over ${countOf(rows, 'pair')}; ` +
    `mean log probability ${means[0]} chosen, ${means[1]} rejected\n`
  );
}

function exactText({ rows, matches, exactMatch, ended, endedShare }: ExactMatch): string {
  return (
    `exact match ${percent(exactMatch)} (${grouped(matches)} of ${countOf(rows, 'answer')}), ` +
    `ended by themselves ${percent(endedShare)} (${grouped(ended)})\n`
  );
}

function bleuText({ rows, bleu, precisions, brevityPenalty, ended }: AnswersBleu): string {
  const shares = precisions.map((precision) => precision.toFixed(1)).join('/');
  return (
    `BLEU ${bleu.toFixed(2)}, n-grams ${shares} %, brevity penalty ${brevityPenalty.toFixed(3)}, ` +
    `over ${countOf(rows, 'answer')}, of which ${grouped(ended)} ended by themselves\n`
  );
}

function choicesText({ rows, acc, accNorm, chance, shortened }: ChoicesEvaluation): string {
  const lost = shortened === 0 ? '' : `; ${grouped(shortened)} contexts were too long and lost their beginning`;
  return (
    `accuracy ${percent(acc)}, normalized by bytes ${percent(accNorm)}, ` +
    `over ${countOf(rows, 'row')}; guessing has ${percent(chance)}${lost}\n`
  );
}

function percent(share: number): string {
  return `${(100 * share).toFixed(2)} %`;
}

function labelsText(evaluation: ClassesEvaluation | PairsEvaluation): string {
  const { rows, loss, accuracy } = evaluation;
  const head = `loss ${loss.toFixed(4)}, accuracy ${percent(accuracy)}`;
  if ('margin' in evaluation) return `${head}, margin ${evaluation.margin.toFixed(4)}, over ${countOf(rows, 'pair')}\n`;
  const { macroF1, classes, confusion } = evaluation;
  const measures = classes.map(({ label, precision, recall, f1, support }) => [
    label,
    ...[precision, recall, f1].map((value) => value.toFixed(4)),
    grouped(support),
  ]);
  const labels = classes.map(({ label }) => label);
  const counts = confusion.map((row, k) => [labels[k]!, ...row.map(grouped)]);
  return (
    `${head}, macro F1 ${macroF1.toFixed(4)}, over ${countOf(rows, 'row')}\n\n` +
    `${table([['class', 'precision', 'recall', 'F1', 'rows'], ...measures])}\n\n` +
    `${table([['class \\ predicted', ...labels], ...counts])}\n`
  );
}

/** Lines of columns: the first aligned to the left, the others to the right. */
function table(lines: readonly (readonly string[])[]): string {
  const widths = lines[0]!.map((_, i) => Math.max(...lines.map((line) => line[i]!.length)));
  return lines
    .map((line) => line.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  '))
    .join('\n');
}

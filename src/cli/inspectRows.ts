/** `launch inspect` of rows to learn from: what a model sees of each, which tokens are targets, and how many. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { randomKey } from '../base/counterRandom.ts';
import { UserError } from '../base/errors.ts';
import { countOf, grouped } from '../base/numberText.ts';
import { expectedTokenizer, parseTokenizerKind, type TokenizerKind } from '../base/tokenizerKind.ts';
import { userPath } from '../base/userPath.ts';
import { countTokens, lengthOf, placesOf, type RowTask } from '../data/examples/exampleSamples.ts';
import { exampleTask } from '../data/examples/exampleTask.ts';
import { readRows, withHeaderAdvice } from '../data/examples/readRows.ts';
import { permutation } from '../data/permutation.ts';
import type { SourceFormat } from '../data/prepare/fileKinds.ts';
import { templateOf } from '../data/tokenizers/chatTemplate.ts';
import type { Tokenizer } from '../data/tokenizers/tokenizer.ts';
import { findCheckpoint } from '../run/findCheckpoint.ts';
import { openTokenizer } from '../run/loadModel.ts';
import { ChatFormat } from '../task/chatFormat.ts';
import { kindOfRow } from '../task/kindOfRow.ts';
import type { TaskKind } from '../task/kinds.ts';
import type { PlacedRow } from '../task/rows.ts';
import type { Sample } from '../task/task.ts';
import { print, warn } from './output.ts';
import { paint, statusLine, wantsColor } from './terminal.ts';

export interface InspectRowsOptions {
  /** A file of rows, or two aligned text files. */
  readonly paths: readonly string[];
  readonly tokenizer: string;
  /** Undefined: what the keys of the first row suggest. */
  readonly task: TaskKind | undefined;
  readonly template: string;
  readonly columns: readonly string[];
  /** Undefined: determined by the name and content of the file. */
  readonly format: SourceFormat | undefined;
  readonly samples: number;
  readonly seed: number;
  readonly json: boolean;
}

/** A part of a sample, decoded. */
interface Part {
  readonly text: string;
  readonly isTarget: boolean;
}

/** A text of a sample: pairs have two, and so have sources with targets. */
interface ShownText {
  /** Absent if the sample has only one text. */
  readonly name?: string;
  readonly parts: readonly Part[];
  /** The class to say after the last token. */
  readonly label?: string;
}

interface ShownRow {
  readonly at: string;
  readonly tokens: number;
  readonly targets: number;
  readonly texts: readonly ShownText[];
}

interface Counts {
  readonly tokens: number;
  readonly targets: number;
  /** Tokens of the longest sample, and its place. */
  readonly longest: { readonly tokens: number; readonly at: string };
  /** Samples of conversations that do not end with the end token. */
  readonly unended: number;
  /** Places of pairs whose answers are equal. */
  readonly equal: readonly string[];
  /** Rows of each class. */
  readonly labels: ReadonlyMap<string, number>;
}

/** @throws UserError for a row that the task refuses, with its file and line */
export async function inspectRows(options: InspectRowsOptions, cwd: string): Promise<void> {
  const { paths, columns, format } = options;
  const aligned = paths.length > 1 || options.task === 'seq2seq';
  const rows = await readRows({ paths, setting: 'inspect', cwd, columns, format, aligned, onNotice: warn });
  try {
    print(await inspected(rows, options, cwd));
  } catch (error) {
    throw withHeaderAdvice(error, rows, 'inspect');
  }
}

async function inspected(rows: readonly PlacedRow[], options: InspectRowsOptions, cwd: string): Promise<string> {
  const { template, json } = options;
  const kind = options.task ?? kindOfRow(rows[0]!, (...names) => `--columns ${names.join(',')}`);
  const { spec, tokenizer: given } = await tokenizerOf(options.tokenizer, cwd);
  const {
    task,
    tokenizer,
    labels = [],
  } = await exampleTask(
    { examples: rows, all: rows },
    { kind, template, labels: [], tokenizerKind: spec, tokenizer: given, cwd },
  );
  const endToken = endTokenOf(kind, tokenizer);
  const counts = await count(rows, { task, labels, endToken });
  const shown = chosen(rows, options).map((row) => show(row, { task, kind, tokenizer, labels }));
  const end = endToken === undefined ? undefined : tokenizer.decode([endToken]);
  const facts = { kind, tokenizer: tokenizer.kind, examples: rows.length, end };
  return json ? toJson(facts, counts, shown) : toText(facts, counts, shown);
}

/** The name of a tokenizer, or the tokenizer of a run or a checkpoint. */
async function tokenizerOf(
  name: string,
  cwd: string,
): Promise<{ spec: TokenizerKind; tokenizer: Tokenizer | undefined }> {
  const folder = userPath(cwd, name);
  const isThere = async (path: string): Promise<boolean> => (await stat(path).catch(() => undefined)) !== undefined;
  const hasFile = /\.json$/.test(name) || (await isThere(join(folder, 'tokenizer.json')));
  const parsed = parseTokenizerKind(name);
  const isNamed = parsed !== undefined && parsed.type !== 'file';
  if (!isNamed && !hasFile && (await isThere(folder))) {
    const checkpoint = await findCheckpoint({ path: name, cwd, verify: 'model', onWarning: warn });
    return { spec: 'gpt2', tokenizer: await openTokenizer(checkpoint) };
  }
  if (isNamed || hasFile)
    return { spec: (isNamed || parsed ? name : `./${name}`) as TokenizerKind, tokenizer: undefined };
  throw new UserError(`--tokenizer: expected ${expectedTokenizer}, or a run or checkpoint, received ${name}`);
}

/** The token that ends the answers of a conversation. */
function endTokenOf(kind: TaskKind, tokenizer: Tokenizer): number | undefined {
  if (kind === 'classify') return undefined;
  if (kind === 'lm' || kind === 'seq2seq') return tokenizer.endOfText;
  const template = templateOf(tokenizer);
  return template === undefined ? tokenizer.endOfText : new ChatFormat(template, tokenizer).endToken;
}

interface CountOptions {
  readonly task: RowTask;
  readonly labels: readonly string[];
  readonly endToken: number | undefined;
}

async function count(rows: readonly PlacedRow[], { task, labels, endToken }: CountOptions): Promise<Counts> {
  const { form } = task;
  const progress = statusLine('reading the rows');
  let [tokens, targets, unended] = [0, 0, 0];
  let longest = { tokens: 0, at: '' };
  const equal: string[] = [];
  const byLabel = new Map(labels.map((label) => [label, 0]));
  for (const [index, { row, at }] of rows.entries()) {
    const { sample } = task.open(row, at);
    const counted = countTokens(form.fields, arraysOf(sample));
    tokens += counted.tokens;
    targets += counted.targets;
    const length = lengthOf(form.fields, sample);
    if (length > longest.tokens) longest = { tokens: length, at };
    if (task.hasEqualAnswers(sample)) equal.push(at);
    if (!textsOf(sample).every((text) => lastOf(text) === endToken)) unended++;
    const label = form.objective === 'classes' ? labels[sample['targets']![sample['targets']!.length - 1]!] : undefined;
    if (label !== undefined) byLabel.set(label, byLabel.get(label)! + 1);
    if (index % 500 === 499) {
      progress(index / rows.length);
      await new Promise((resume) => setImmediate(resume));
    }
  }
  return { tokens, targets, longest, unended, equal, labels: form.objective === 'classes' ? byLabel : new Map() };
}

/** In the arrays of a batch, which counting expects. */
function arraysOf(sample: Sample): Sample {
  return Object.fromEntries(Object.entries(sample).map(([name, values]) => [name, Int32Array.from(values)]));
}

interface SampleText {
  readonly name?: string;
  readonly tokens: ArrayLike<number>;
  /** Empty for a source, of which nothing is predicted. */
  readonly targets: ArrayLike<number>;
}

/** The texts of a sample. */
function textsOf(sample: Sample): SampleText[] {
  const { tokens, targets, source, chosen: first, rejected: second, chosenTargets, rejectedTargets } = sample;
  if (tokens !== undefined && targets !== undefined) {
    if (source === undefined) return [{ tokens, targets }];
    return [
      { name: 'source', tokens: source, targets: [] },
      { name: 'target', tokens, targets },
    ];
  }
  return [
    { name: 'chosen', tokens: first!, targets: chosenTargets! },
    { name: 'rejected', tokens: second!, targets: rejectedTargets! },
  ];
}

/** Whether targets are the tokens that follow, not classes or scores. */
function predictsTokens({ tokens, targets }: SampleText): boolean {
  if (targets.length === 0) return false;
  for (let i = 0; i + 1 < tokens.length; i++) if (targets[i]! >= 0) return true;
  return tokens.length === 1;
}

/** The last token of a text: of one whose tokens are predicted, it is only a target. */
function lastOf(text: SampleText): number {
  return predictsTokens(text) ? text.targets[text.targets.length - 1]! : text.tokens[text.tokens.length - 1]!;
}

/** Rows in an order that depends on the seed, each once. */
function chosen(rows: readonly PlacedRow[], { samples, seed }: InspectRowsOptions): PlacedRow[] {
  const order = permutation(rows.length, randomKey(seed));
  return Array.from({ length: Math.min(samples, rows.length) }, (_, place) => rows[order.at(place)]!);
}

interface ShowOptions {
  readonly task: RowTask;
  readonly kind: TaskKind;
  readonly tokenizer: Tokenizer;
  readonly labels: readonly string[];
}

function show({ row, at }: PlacedRow, { task, kind, tokenizer, labels }: ShowOptions): ShownRow {
  const { sample } = task.open(row, at);
  const texts = textsOf(sample).map((text): ShownText => {
    const name = text.name === undefined ? {} : { name: text.name };
    if (kind === 'classify') {
      const label = labels[text.targets[text.targets.length - 1]!]!;
      return { ...name, parts: [{ text: tokenizer.decode(Array.from(text.tokens)), isTarget: false }], label };
    }
    if (kind === 'reward' || text.targets.length === 0) {
      return { ...name, parts: [{ text: tokenizer.decode(Array.from(text.tokens)), isTarget: false }] };
    }
    return { ...name, parts: partsOf(text, tokenizer) };
  });
  return { at, ...countTokens(task.form.fields, arraysOf(sample)), texts };
}

/** The text of a sample that predicts tokens, split where targets begin and end. */
function partsOf({ tokens, targets }: SampleText, tokenizer: Tokenizer): Part[] {
  const runs: { tokens: number[]; isTarget: boolean }[] = [];
  const add = (token: number, isTarget: boolean): void => {
    const last = runs.at(-1);
    if (last?.isTarget === isTarget) last.tokens.push(token);
    else runs.push({ tokens: [token], isTarget });
  };
  add(tokens[0]!, false);
  for (let i = 0; i < targets.length; i++) {
    const target = targets[i]!;
    if (target >= 0) add(target, true);
    else if (i + 1 < tokens.length) add(tokens[i + 1]!, false);
  }
  return runs.map((run) => ({ text: tokenizer.decode(run.tokens), isTarget: run.isTarget }));
}

interface Facts {
  readonly kind: TaskKind;
  readonly tokenizer: string;
  readonly examples: number;
  readonly end: string | undefined;
}

function toText({ kind, tokenizer, examples, end }: Facts, counts: Counts, rows: readonly ShownRow[]): string {
  const isColored = wantsColor(process.stdout);
  const lines = rows.flatMap(({ at, tokens, targets, texts }) => [
    `${at}: ${countOf(tokens, 'token')}, ${countOf(targets, 'target')}`,
    ...texts.map((text) => shownText(text, isColored)),
    '',
  ]);
  if (rows.length > 0 && ['lm', 'sft', 'seq2seq', 'dpo'].includes(kind)) {
    lines.push(isColored ? `targets are ${paint('green', 'green')}` : 'targets are between « and »');
  }
  const { longest, unended, equal, labels } = counts;
  lines.push(
    `${countOf(examples, 'example')}, ${grouped(counts.targets)} of ${grouped(counts.tokens)} tokens are targets${endText(end, unended)}`,
    `task ${kind}, ${tokenizer} tokenizer; the longest example has ${grouped(longest.tokens)} tokens (${longest.at})`,
  );
  if (equal.length > 0) {
    lines.push(`answers are equal in ${grouped(equal.length)} pairs (${placesOf(equal)}): task.equalPairs`);
  }
  if (labels.size > 0) {
    lines.push(`labels: ${[...labels].map(([label, number]) => `${label} ${grouped(number)}`).join(', ')}`);
  }
  return lines.join('\n');
}

function endText(end: string | undefined, unended: number): string {
  if (end === undefined) return '';
  return unended === 0 ? `, all end with ${end}` : `, ${grouped(unended)} do not end with ${end}`;
}

function shownText({ name, parts, label }: ShownText, isColored: boolean): string {
  const text = parts.map((part) => {
    if (!part.isTarget) return part.text;
    return isColored ? paint('green', part.text) : `«${part.text}»`;
  });
  return `${name === undefined ? '' : `${name}: `}${text.join('')}${label === undefined ? '' : ` → ${label}`}`;
}

function toJson({ kind, tokenizer, examples, end }: Facts, counts: Counts, rows: readonly ShownRow[]): string {
  const { tokens, targets, longest, unended, equal, labels } = counts;
  return JSON.stringify({
    task: kind,
    tokenizer,
    examples,
    tokens,
    targets,
    longest,
    ...(end !== undefined && { endToken: end, unended }),
    ...(equal.length > 0 && { equalPairs: equal }),
    ...(labels.size > 0 && { labels: Object.fromEntries(labels) }),
    samples: rows,
  });
}

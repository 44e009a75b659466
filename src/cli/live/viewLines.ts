/**
 * The live view as lines: progress, loss, speed, a row for each worker, the last events. Pure: the same state and
 * size give the same lines. They are narrower than the terminal, and fewer than its rows.
 */
import { grouped } from '../../base/numberText.ts';
import type { RunState } from '../../coordinator/core/runState.ts';
import { duration } from '../progress.ts';
import type { Style } from '../terminal.ts';
import { apportioned, bar, cellsOf, fitted, type Line, oneRow, type Piece, sparkline } from './text.ts';
import { type StepParts, stageWords, totalMs, type ViewState, type WorkerRow, workerRows } from './viewState.ts';

export interface Size {
  readonly columns: number;
  readonly rows: number;
}

/** Rows reserved for the scrolling output, if the terminal has enough. */
const scrollRows = 6;
const notesMost = 3;
const barCellsMost = 60;
const barCellsOfRow = 40;
const sparkCellsMost = 80;
const nameCells = 24;
const stateCells = 15;

/** The parts of a step: a column in the table of workers and a segment of its bar. */
const shares = [
  { name: 'compute', part: 'computeMs', mark: '█', style: 'green' },
  { name: 'update', part: 'updateMs', mark: '▓', style: 'blue' },
  { name: 'ring', part: 'ringMs', mark: '▒', style: 'magenta' },
  { name: 'wait', part: 'waitMs', mark: '░', style: 'dim' },
] as const satisfies readonly { name: string; part: keyof StepParts; mark: string; style: Style }[];

/** The width of the widest value, `100 %`. */
function shareCells(name: string): number {
  return Math.max(5, name.length);
}

/** The width of all columns of that table except the names, with the gaps. */
const columnCells = 4 + 2 + 2 + stateCells + shares.reduce((sum, { name }) => sum + 2 + shareCells(name), 0) + 11;

/** @param run the coordinator's state; absent before it exists */
export function viewLines(view: ViewState, run: RunState | undefined, size: Size, nowMs: number): Line[] {
  const cells = Math.max(0, size.columns - 1);
  const rowsMost = Math.max(0, size.rows > 3 * scrollRows ? size.rows - scrollRows : size.rows - 1);
  const head = [progressLine(view, run, cells), lossLine(view, cells), speedLine(view)];
  const rows = run === undefined ? [] : workerRows(view, run, nowMs);
  // Workers have priority over events; neither displaces the head.
  const rowsForWorkers = Math.max(0, rowsMost - head.length - 1);
  const workers = workerLines(rows, rowsForWorkers, cells);
  const rowsForNotes = Math.min(notesMost, Math.max(0, rowsMost - head.length - workers.length - 1));
  const notes = rowsForNotes === 0 ? [] : view.notes.slice(-rowsForNotes).map((note) => noteLine(note, nowMs));
  const rule: Line = [{ text: '─'.repeat(cells), style: 'dim' }];
  const lines = rowsMost > head.length ? [rule, ...head, ...workers, ...notes] : head;
  return lines.slice(0, rowsMost).map((line) => fitted(line, cells));
}

function progressLine(view: ViewState, run: RunState | undefined, cells: number): Line {
  const { step, maxSteps, stepTokens, tokensPerSecond } = view;
  const done = maxSteps === 0 ? 1 : step / maxSteps;
  const label = `step ${grouped(step)}/${grouped(maxSteps)}`;
  const stage = run === undefined ? 'starting' : stageWords(run);
  const left = tokensPerSecond > 0 ? `  ${duration(((maxSteps - step) * stepTokens) / tokensPerSecond)} left` : '';
  const after = `${String(Math.floor(done * 100)).padStart(3)} %${left}`;
  const words: Piece[] = stage === '' ? [] : [{ text: `  ${stage}`, style: 'yellow' }];
  const taken = label.length + after.length + words.reduce((sum, { text }) => sum + cellsOf(text), 0) + 4;
  const barCells = Math.min(barCellsMost, cells - taken);
  const middle: Line = barCells < 5 ? [{ text: '  ' }] : [{ text: '  ' }, ...bar(done, barCells), { text: '  ' }];
  return [{ text: label, style: 'bold' }, ...middle, { text: after }, ...words];
}

function lossLine({ last, losses, evaluation }: ViewState, cells: number): Line {
  if (last === undefined)
    return [
      { text: 'loss', style: 'bold' },
      { text: '  after the first step', style: 'dim' },
    ];
  const loss: Piece = { text: `loss ${last.loss.toFixed(4)}`, style: 'bold' };
  const validation =
    evaluation === undefined ? '' : `  validation ${evaluation.valLoss.toFixed(4)} at step ${grouped(evaluation.step)}`;
  const room = Math.min(sparkCellsMost, cells - loss.text.length - validation.length - 2);
  const curve = room < 5 ? '' : `  ${sparkline(losses, room)}`;
  return [loss, { text: curve, style: 'cyan' }, { text: validation }];
}

function speedLine({ last, tokensPerSecond, mfu }: ViewState): Line {
  if (last === undefined) return [];
  const speed = `${grouped(Math.round(tokensPerSecond))} tokens/s`;
  const utilisation = mfu === undefined ? '' : `  MFU ${Math.round(100 * mfu)} %`;
  return [{ text: `lr ${last.lr.toExponential(2)}  grad norm ${last.gradNorm.toFixed(2)}  ${speed}${utilisation}` }];
}

/** A title and the rows. If not all workers fit, the last row gives the number of the others. */
function workerLines(rows: readonly WorkerRow[], rowsMost: number, cells: number): Line[] {
  if (rowsMost < 2 || rows.length === 0) return [];
  const fits = rows.length + 1 <= rowsMost;
  const shown = fits ? rows : rows.slice(0, rowsMost - 2);
  const longest = Math.max(6, ...shown.map(({ worker }) => cellsOf(worker)));
  // Numbers have priority over long names if they fit at all, and both over the bar.
  const roomForNames = cells - columnCells;
  const nameWidth = Math.min(nameCells, longest, roomForNames < 6 ? longest : roomForNames);
  const barCells = Math.min(barCellsOfRow, cells - columnCells - nameWidth - 2);
  const title: Line = [
    { text: `rank  ${'worker'.padEnd(nameWidth)}  ${'state'.padEnd(stateCells)}`, style: 'dim' },
    ...shares.map(({ name, style }): Piece => ({ text: `  ${name.padStart(shareCells(name))}`, style })),
    { text: '  sequences', style: 'dim' },
  ];
  return [
    title,
    ...shown.map((row) => workerLine(row, nameWidth, barCells)),
    ...(fits ? [] : [[{ text: `and ${rows.length - shown.length} more workers`, style: 'dim' } as const]]),
  ];
}

function workerLine(
  { worker, rank, state, isTrouble, parts, samples }: WorkerRow,
  nameWidth: number,
  barCells: number,
): Line {
  const name = fitted([{ text: worker }], nameWidth)[0]?.text ?? '';
  const padding = ' '.repeat(Math.max(0, nameWidth - cellsOf(name)));
  const who = `${(rank < 0 ? '-' : String(rank)).padStart(4)}  ${name}${padding}  `;
  const what: Piece = { text: state.padEnd(stateCells), style: isTrouble ? 'red' : 'green' };
  if (parts === undefined) return [{ text: who }, what];
  const total = totalMs(parts);
  const percent = (ms: number) => (total > 0 ? `${Math.round((100 * ms) / total)} %` : '–');
  const lengths =
    barCells < 5
      ? []
      : apportioned(
          shares.map(({ part }) => parts[part]),
          barCells,
        );
  return [
    { text: who },
    what,
    ...shares.map(({ name, part }): Piece => ({ text: `  ${percent(parts[part]).padStart(shareCells(name))}` })),
    { text: `  ${(samples === undefined ? '' : grouped(samples)).padStart(9)}${lengths.length > 0 ? '  ' : ''}` },
    ...lengths.map((length, i): Piece => ({ text: shares[i]!.mark.repeat(length), style: shares[i]!.style })),
  ];
}

function noteLine({ atMs, text, isWarning }: ViewState['notes'][number], nowMs: number): Line {
  const age = `${duration((nowMs - atMs) / 1_000)} ago  `;
  return [
    { text: age.padStart(12), style: 'dim' },
    { text: oneRow(text), style: isWarning ? 'yellow' : undefined },
  ];
}

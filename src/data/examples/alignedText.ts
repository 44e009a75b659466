/** Two text files with aligned lines: line n of the first is the source of the row whose target is line n of the second. */
import { UserError } from '../../base/errors.ts';
import { countOf, grouped } from '../../base/numberText.ts';
import type { Row } from '../../task/rows.ts';

/** A file in memory. */
export interface NamedText {
  /** Its name in messages. */
  readonly name: string;
  readonly text: string;
}

/** A row, and the places of its two texts in messages. */
export interface AlignedRow {
  readonly row: Row & { readonly source: string; readonly target: string };
  readonly sourceAt: string;
  readonly targetAt: string;
}

/**
 * A row for each line. Lines that are blank in both files are left out.
 * @throws UserError if one file has more lines than the other, and for lines that are blank in only one of them
 */
export function* alignedRows(sources: NamedText, targets: NamedText): Generator<AlignedRow> {
  const [first, second] = [linesOf(sources.text), linesOf(targets.text)];
  if (first.length !== second.length) {
    throw new UserError(
      `${sources.name} has ${countOf(first.length, 'line')}, but ${targets.name} has ${grouped(second.length)}: expected as many, because each line of the first belongs to the same line of the second`,
    );
  }
  const isBlank = (line: string | undefined) => line!.trim() === '';
  const unpaired = first.flatMap((line, i) => (isBlank(line) === isBlank(second[i]) ? [] : [i]));
  const [at] = unpaired;
  if (at !== undefined) {
    const [empty, full] = isBlank(first[at]) ? [sources.name, targets.name] : [targets.name, sources.name];
    const others = unpaired.length === 1 ? '' : `, and ${grouped(unpaired.length - 1)} more lines are`;
    throw new UserError(
      `${empty}:${at + 1}: the line is empty, but that of ${full} is not${others && `${others} empty in one file only`}. Remove such lines from both files`,
    );
  }
  for (const [i, source] of first.entries()) {
    if (isBlank(source)) continue;
    yield {
      row: { source, target: second[i]! },
      sourceAt: `${sources.name}:${i + 1}`,
      targetAt: `${targets.name}:${i + 1}`,
    };
  }
}

/** Without line ends: LF or CRLF. Other characters that separate lines belong to them. */
function linesOf(text: string): string[] {
  const lines = text.split('\n').map((line) => (line.endsWith('\r') ? line.slice(0, -1) : line));
  if (lines.at(-1) === '') lines.pop();
  return lines;
}

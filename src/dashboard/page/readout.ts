/** The head of a chart: what it shows, and beside the name of each line a number: the newest, or that of the step that is pointed at. */
import type uPlot from 'uplot';
import { type ChartLine, indexFor, newestOf } from './curves.ts';
import { element, readable, short } from './format.ts';

export class Readout {
  readonly head: HTMLElement;
  readonly #step = element('small', 'pointed');
  readonly #lines: readonly ChartLine[];
  readonly #values: readonly HTMLElement[];

  constructor(title: string, lines: readonly ChartLine[]) {
    this.#lines = lines;
    this.#values = lines.map(() => element('b', '', '–'));
    const entries = lines.map(({ name, isValidation, colour }, i) => {
      const swatch = element('i', `${isValidation ? 'swatch dashed' : 'swatch'} series-${colour}`);
      const label = element('span', 'name', name);
      label.title = name;
      return element('span', 'line', swatch, ...(name === '' ? [] : [label]), this.#values[i]!);
    });
    this.head = element(
      'div',
      'chart-head',
      element('h3', '', title, ' ', this.#step),
      element('div', 'lines', ...entries),
    );
  }

  /** @param plot whose lines are those of this head, in their order */
  show({ cursor: { idx }, data }: uPlot): void {
    this.#step.textContent = idx === null || idx === undefined ? '' : `step ${short(data[0]?.[idx])}`;
    for (const [i, line] of this.#lines.entries()) {
      const cells = data[i + 1] ?? [];
      const value = idx === null || idx === undefined ? newestOf(cells) : cells[indexFor(line, cells, idx)];
      this.#values[i]!.textContent = readable(value);
    }
  }
}

/** What pages are told, as text. Pages that know the same are told the same: it is put together once, however many look. */
import type { IndexedUpdate } from './runUpdate.ts';
import type { RunView, Seen } from './runView.ts';

/** What a page has of each run; undefined: nothing. */
export type SeenRuns = readonly (Seen | undefined)[];

interface Told {
  readonly text: string;
  readonly seen: SeenRuns;
}

export class UpdateEncoder {
  readonly #runs: readonly RunView[];
  #newest: { readonly before: string; readonly told: Told } | undefined;

  constructor(runs: readonly RunView[]) {
    this.#runs = runs;
  }

  /** JSON of the updates of all runs that have changed, and what the page has then; undefined where none has. */
  encode(seen: SeenRuns): Told | undefined {
    const isKnown = (run: RunView, index: number) => seen[index]?.version === run.version;
    if (this.#runs.every(isKnown)) return undefined;
    const before = JSON.stringify([seen, this.#runs.map(({ version }) => version)]);
    if (this.#newest?.before !== before) this.#newest = { before, told: this.#told(seen, isKnown) };
    return this.#newest.told;
  }

  #told(seen: SeenRuns, isKnown: (run: RunView, index: number) => boolean): Told {
    const updates: IndexedUpdate[] = [];
    const after = this.#runs.map((run, index) => {
      if (isKnown(run, index)) return seen[index];
      const told = run.update(seen[index]);
      updates.push({ ...told.update, index });
      return told.seen;
    });
    return { text: JSON.stringify(updates), seen: after };
  }
}

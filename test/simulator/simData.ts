/** The data of a simulated run: a text, or numbered examples whose use can be counted. */
import type { Batch } from '../../src/base/batch.ts';
import type { Dataset } from '../../src/data/dataset.ts';
import { exampleRunData } from '../../src/data/examples/exampleRunData.ts';
import type { RunData } from '../../src/data/runData.ts';
import { textRunData } from '../../src/data/textRunData.ts';
import { asTokenBatch, targetsOf, tokenSampleFields } from '../../src/task/nextToken.ts';

export const blockSize = 2;
const tokenizer = {
  kind: 'char',
  vocabSize: 64,
  files: () => ({}),
  decode: () => '',
} as unknown as Dataset['tokenizer'];

const dataset = {
  tokenizer,
  vocabSize: 8,
  train: Uint16Array.from({ length: 64 }, (_, i) => i % 8),
  corpora: [{ tokens: 64, weight: 1 }],
  val: Uint16Array.from({ length: 60 }, (_, i) => (i * i + (i >> 3)) % 8),
  description: 'simulated',
  sha256: '',
  tokenizerSha256: '',
} satisfies Dataset;
export const textData = textRunData(dataset, blockSize);

/** Example i begins with token i + 1: 0 is padding. */
export function exampleData(count: number): RunData {
  const sampleOf = (i: number) => {
    const length = 1 + (i % blockSize);
    return { tokens: new Int32Array(length).fill(i + 1), targets: new Int32Array(length).fill(i % 8) };
  };
  const train = Array.from({ length: count }, (_, i) => sampleOf(i));
  const validation = Array.from({ length: 29 }, (_, i) => sampleOf((i * i) % 8));
  const form = { fields: tokenSampleFields, objective: 'next-token', weight: targetsOf };
  return exampleRunData({ form, tokenizer, labels: [], train, validation, description: '', sha256: '' }, 0);
}

/** Counts how often each example was used in the steps of a run, by what its workers computed. */
export class ExampleUse {
  /** The newest samples of each process. */
  readonly #begun = new Map<number, { readonly step: number; readonly sampleFrom: number; readonly first: number[] }>();
  readonly #committed = new Map<number, readonly number[]>();

  begins(pid: number, { step, sampleFrom }: { step: number; sampleFrom: number }, batch: Batch): void {
    const { sampleCount, arrays } = asTokenBatch(batch);
    const length = arrays.tokens.data.length / sampleCount;
    const first = Array.from({ length: sampleCount }, (_, i) => arrays.tokens.data[i * length]!);
    this.#begun.set(pid, { step, sampleFrom, first });
  }

  /** @param ring processes, by rank. A step that is done again replaces what it was. */
  commits(step: number, ring: readonly number[], ranks: readonly { rank: number; sampleFrom: number }[]): void {
    const shares = ranks.flatMap(({ rank, sampleFrom }) => {
      const share = this.#begun.get(ring[rank]!);
      return share?.step === step && share.sampleFrom === sampleFrom ? share.first : [];
    });
    this.#committed.set(step, shares);
  }

  /** What is not as it must be after `steps` steps of `epochs` epochs of `count` examples. */
  problem(steps: number, { epochs, count }: { epochs: number; count: number }): string | undefined {
    const used = new Array<number>(count + 1).fill(0);
    for (let step = 1; step <= steps; step++) for (const token of this.#committed.get(step) ?? []) used[token]!++;
    const wrong = used.findIndex((times, token) => token > 0 && times !== epochs);
    return wrong < 0 ? undefined : `example ${wrong - 1} was used ${used[wrong]} times in ${epochs} epochs`;
  }
}

/** The baseline of text classification: multinomial naive Bayes over words in lower case, with one added to each count. */

export interface LabelledText {
  readonly text: string;
  readonly label: string;
}

/** Learns from rows, and returns what gives a text its most probable label. */
export function naiveBayes(rows: readonly LabelledText[]): (text: string) => string {
  /** Per label, the number of its rows and of its words, and how often each word occurs in it. */
  const classes = new Map<string, { rows: number; words: number; counts: Map<string, number> }>();
  const vocabulary = new Set<string>();
  for (const { text, label } of rows) {
    const own = classes.get(label) ?? { rows: 0, words: 0, counts: new Map<string, number>() };
    classes.set(label, own);
    own.rows++;
    for (const word of wordsOf(text)) {
      own.words++;
      own.counts.set(word, (own.counts.get(word) ?? 0) + 1);
      vocabulary.add(word);
    }
  }
  return (text) => {
    const words = wordsOf(text);
    const scored = [...classes].map(([label, { rows: count, words: total, counts }]) => {
      const evidence = (word: string) => Math.log(((counts.get(word) ?? 0) + 1) / (total + vocabulary.size));
      return { label, score: words.reduce((sum, word) => sum + evidence(word), Math.log(count)) };
    });
    return scored.reduce((best, other) => (other.score > best.score ? other : best)).label;
  };
}

function wordsOf(text: string): string[] {
  return text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
}

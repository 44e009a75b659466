/** Finds what a mistyped word was meant to be. */

/** The candidate whose text is nearest to `text`, if any is near enough to be a typing error. Case, `_`, `-` and spaces do not count. */
export function nearest<T>(text: string, candidates: readonly T[], textOf: (candidate: T) => string): T | undefined {
  const wanted = plain(text);
  let best: T | undefined;
  // Half of the letters wrong is another word.
  let bestDistance = Math.max(1, Math.floor(wanted.length / 2.5)) + 1;
  for (const candidate of candidates) {
    const candidateDistance = distance(wanted, plain(textOf(candidate)));
    if (candidateDistance < bestDistance) {
      best = candidate;
      bestDistance = candidateDistance;
    }
  }
  return best;
}

/** As {@link nearest}, among words. Two letters that changed places are two mistakes by distance, which is too many for a short word. */
export function nearestWord(word: string, known: readonly string[]): string | undefined {
  const letters = (text: string) => [...text].sort().join('');
  return (
    nearest(word, known, (candidate) => candidate) ?? known.find((candidate) => letters(candidate) === letters(word))
  );
}

function plain(text: string): string {
  return text
    .slice(0, 200)
    .toLowerCase()
    .replaceAll(/[-_\s]/g, '');
}

/** Levenshtein's distance: how many letters to insert, delete or replace to make `b` of `a`. */
function distance(a: string, b: string): number {
  // Distances of the letters of `a` so far to each beginning of `b`.
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (const [i, letter] of [...a].entries()) {
    const next = [i + 1];
    for (let j = 0; j < b.length; j++) {
      next.push(Math.min(next[j]! + 1, row[j + 1]! + 1, row[j]! + (letter === b[j] ? 0 : 1)));
    }
    row = next;
  }
  return row[b.length]!;
}

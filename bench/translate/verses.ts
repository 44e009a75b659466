/**
 * English verses and their Spanish translations, as rows: the World English Bible and the Reina Valera of 1909, both in the public domain. They
 * are Debian packages (sword-text-web, sword-text-sparv), and diatheke prints them.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { randomKey } from '../../src/base/counterRandom.ts';
import { messageOf, UserError } from '../../src/base/errors.ts';
import { permutation } from '../../src/data/permutation.ts';

export interface Verse {
  readonly source: string;
  readonly target: string;
}

const modules = { source: 'engWEB2015eb', target: 'spaRV1909eb' } as const;
const outputBytesMax = 2 ** 26;

/**
 * The verses that both have, of at most `wordsMax` words each, in an order that a seed chooses.
 * @throws UserError without diatheke and its modules
 */
export async function readVerses(wordsMax: number): Promise<Verse[]> {
  const [sources, targets] = await Promise.all([printed(modules.source), printed(modules.target)]);
  const verses = alignVerses(sources, targets, wordsMax);
  const order = permutation(verses.length, randomKey(1));
  return verses.map((_, place) => verses[order.at(place)]!);
}

async function printed(module: string): Promise<string> {
  try {
    const args = ['-b', module, '-f', 'plain', '-k', 'Genesis-Revelation'];
    const { stdout } = await promisify(execFile)('diatheke', args, { maxBuffer: outputBytesMax });
    if (stdout.length > 1_000_000) return stdout;
    throw new UserError(`diatheke printed ${stdout.length} characters of ${module}, expected a complete text`);
  } catch (error) {
    throw new UserError(
      `the verses need diatheke with two texts (apt-get install diatheke sword-text-web sword-text-sparv), or give rows of your own with --file. ${messageOf(error).slice(0, 300)}`,
      { cause: error },
    );
  }
}

/** The verses of both texts with the same reference. @param wordsMax of each side */
export function alignVerses(sources: string, targets: string, wordsMax: number): Verse[] {
  const others = versesOf(targets);
  const wordsOf = (text: string) => text.split(' ').length;
  return [...versesOf(sources)].flatMap(([reference, source]) => {
    const target = others.get(reference);
    const fits = target !== undefined && wordsOf(source) <= wordsMax && wordsOf(target) <= wordsMax;
    return fits ? [{ source, target }] : [];
  });
}

/** Verses by reference: `Genesis 1:1: In the beginning`. A line without a reference continues the verse before it. */
function versesOf(text: string): Map<string, string> {
  const parts = new Map<string, string[]>();
  let verse: string[] = [];
  for (const line of text.split('\n')) {
    const [, reference, first] = /^((?:I{1,3} )?[A-Z][A-Za-z ]* \d+:\d+): (.*)$/.exec(line) ?? [];
    if (reference === undefined) {
      verse.push(line);
      continue;
    }
    verse = [first ?? ''];
    parts.set(reference, verse);
  }
  const verses = new Map<string, string>();
  for (const [reference, lines] of parts) {
    // Numbers of a dictionary are between angle brackets, and the name of the module is at the end.
    const clean = lines.join(' ').replaceAll(/<[^>]*>|\(\w+eb\)/g, ' ');
    const joined = clean.replaceAll(/\s+/g, ' ').trim();
    if (joined !== '') verses.set(reference, joined);
  }
  return verses;
}

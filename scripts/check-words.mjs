/**
 * Holds that text for people is plain English (CONTRIBUTING.md): the phrases of wordTable.mjs, sentences that start with "Of", long
 * ones, and chains of semicolons. Prints `file:line:column: phrase: what to write instead` for each finding, and ends with 1 if there
 * is any. A comment with `words: allow` and the reason excuses its own line and the next.
 * Usage: node scripts/check-words.mjs [--root folder] [file or folder ...]; without names, all files are checked.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { isRead, readableText } from './readableText.mjs';
import { phrases } from './wordTable.mjs';

/** They quote what they forbid. */
const quoting = ['scripts/wordTable.mjs', 'test/unit/scripts/checkWords.test.ts'];

const skippedFolders = new Set([
  'node_modules',
  'dist',
  'build',
  'coverage',
  'runs',
  'scaling',
  'fixtures',
  'data',
  'api',
  '.git',
]);
const wordsMax = 40;
const allowance = /(?:\/\/|#|\/\*|<!--) words: allow\b/;
const anyPhrase = new RegExp(`\\b(?:${phrases.map(([pattern]) => pattern.replaceAll(' ', '\\s+')).join('|')})\\b`, 'i');
const patterns = phrases.map(([pattern, plain]) => ({
  pattern: new RegExp(`\\b(?:${pattern.replaceAll(' ', '\\s+')})\\b`, 'gi'),
  plain,
}));

const { values, positionals } = parseArgs({ options: { root: { type: 'string' } }, allowPositionals: true });
const root = values.root ?? fileURLToPath(new URL('..', import.meta.url));
const named = positionals.length > 0 ? positionals : [root];
const complaints = filesOf(named).flatMap((path) => [...findingsIn(path)]);
for (const complaint of complaints) process.stderr.write(`${complaint}\n`);
if (complaints.length > 0) process.exitCode = 1;

function filesOf(paths) {
  const files = paths.flatMap((path) => {
    const inside = relative(root, path).replaceAll('\\', '/');
    return statSync(path).isDirectory() ? filesUnder(inside) : [inside];
  });
  return files.filter((path) => !quoting.includes(path));
}

/** @returns {string[]} paths from the root */
function filesUnder(folder) {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
    if (!entry.isDirectory()) return isRead(path) ? [path] : [];
    // src/data is source; the data/ of the root is what was prepared.
    return skippedFolders.has(entry.name) && path !== 'src/data' && !path.startsWith('test/unit/data')
      ? []
      : filesUnder(path);
  });
}

function* findingsIn(path) {
  const source = readFileSync(join(root, path), 'utf8');
  const lines = source.split('\n');
  const used = new Set();
  const findings = readableText(path, source)
    .flatMap((piece) =>
      [...phrasesIn(piece.text), ...sentenceFaults(piece, path)].map(({ at, ...rest }) => ({
        at: piece.offset + at,
        ...rest,
      })),
    )
    .sort((a, b) => a.at - b.at);
  for (const { at, found, plain } of findings) {
    const before = source.slice(0, at).split('\n');
    const line = before.length;
    const allowed = [line, line - 1].find((n) => allowance.test(lines[n - 1] ?? ''));
    if (allowed !== undefined) used.add(allowed);
    else yield `${path}:${line}:${before.at(-1).length + 1}: ${found}: ${plain}`;
  }
  for (const [i, text] of lines.entries()) {
    if (allowance.test(text) && !used.has(i + 1)) yield `${path}:${i + 1}:1: "words: allow" excuses nothing: remove it`;
  }
}

function* phrasesIn(text) {
  if (!anyPhrase.test(text)) return;
  for (const { pattern, plain } of patterns) {
    for (const { 0: found, index } of text.matchAll(pattern)) {
      yield { at: index, found: `"${found.replaceAll(/\s+/g, ' ')}"`, plain };
    }
  }
}

/** What only the form of a sentence shows. Semicolons are counted in Markdown, help and descriptions of config keys, words in Markdown. */
function* sentenceFaults({ text, kind }, path) {
  for (const { 0: sentence, index } of text.matchAll(/\S[\s\S]*?(?:[.!?:]["')]*(?=\s)|$)/g)) {
    if (/^["'(]?Of\s+(?!course\b)/.test(sentence)) {
      yield { at: index, found: 'a sentence that starts with "Of"', plain: 'name the subject first' };
    }
  }
  const isMarkdown = path.endsWith('.md');
  const isHelp = kind === 'string' && /^src\/(cli|config)\//.test(path);
  if (!isMarkdown && !isHelp) return;
  for (const { 0: sentence, index } of text.matchAll(/\S[\s\S]*?(?:[.!?]["')]*(?=\s)|$)/g)) {
    if (sentence.split(/;\s/).length > 2) {
      yield { at: index, found: 'more than one semicolon in a sentence', plain: 'one idea a sentence' };
    }
    const words = sentence.split(/\s+/).filter((word) => /[\p{L}\p{N}_]/u.test(word)).length;
    if (isMarkdown && words > wordsMax) {
      yield {
        at: index,
        found: `a sentence of ${words} words`,
        plain: `split it into sentences of at most ${wordsMax}`,
      };
    }
  }
}

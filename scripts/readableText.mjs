/**
 * What a person reads in a file: prose of Markdown, comments, and strings with a space in them. Each piece has the length and the lines
 * of its source, with spaces in place of what only a program reads, so that an offset in the piece is an offset in the file.
 */
import { parseSync, Visitor } from 'oxc-parser';

/**
 * @typedef {object} Piece
 * @property {number} offset where it starts in the file
 * @property {string} text
 * @property {'prose' | 'comment' | 'string'} kind
 */

const byExtension = {
  md: markdownPieces,
  ts: scriptPieces,
  mjs: scriptPieces,
  js: scriptPieces,
  cc: cPieces,
  c: cPieces,
  cu: cPieces,
  h: cPieces,
  css: (path, source) => cPieces(path, source).filter(({ kind }) => kind === 'comment'),
  sh: hashPieces,
  yaml: hashPieces,
  yml: hashPieces,
  py: pythonPieces,
  html: htmlPieces,
};

/** @returns {boolean} whether the file has text that is checked, by its name */
export function isRead(path) {
  return path === '.ci/run' || Object.hasOwn(byExtension, extensionOf(path));
}

/** @returns {Piece[]} in the order of the file */
export function readableText(path, source) {
  const pieces = path === '.ci/run' ? hashPieces(path, source) : byExtension[extensionOf(path)](path, source);
  return pieces.sort((a, b) => a.offset - b.offset);
}

function extensionOf(path) {
  return path.slice(path.lastIndexOf('.') + 1);
}

/** The same length and the same lines, made of `filler`. */
function blank(text, filler = ' ') {
  return text.replaceAll(/[^\n]/g, filler);
}

/** Code inside text counts as one word that no phrase matches. */
function withoutCode(text) {
  return text
    .replaceAll(/(`+)(?!`)(?:[^`]|(?!\1)`)*?\1(?!`)/g, (code) => blank(code, '_'))
    .replaceAll(/\{@link [^}]*\}|https?:\/\/[^\s)]+|&#?\w+;/g, (code) => blank(code, '_'));
}

/** Paragraphs, headings, items of lists and cells of tables. */
function markdownPieces(_path, source) {
  const prose = withoutCode(
    source
      .replaceAll(/^( *)(`{3,})[^\n`]*\n[\s\S]*?^\1\2 *$/gm, (fence) => blank(fence))
      .replaceAll(/<!--[\s\S]*?-->|<\/?[a-z][^>\n]*>/g, (tag) => blank(tag))
      .replaceAll(/(!?\[)([^\]]*)(\]\([^)]*\))/g, (_, open, text, target) => blank(open) + text + blank(target))
      .replaceAll(/^\[[^\]]+\]: \S+$/gm, (reference) => blank(reference)),
  ).replaceAll(/\*\*|\\/g, (mark) => blank(mark));
  const pieces = [];
  let piece;
  for (const { 0: line, index: offset } of prose.matchAll(/.*\n?/g)) {
    if (line.trim() === '' || /^\s*\|?[-|: ]+\|?\s*$/.test(line)) {
      piece = undefined;
    } else if (/^\s*\|/.test(line)) {
      for (const cell of line.matchAll(/[^|]+/g)) {
        pieces.push({ offset: offset + cell.index, text: cell[0], kind: 'prose' });
      }
      piece = undefined;
    } else {
      const begins = /^\s*(?:[-*+]|\d+\.|#+|>)\s/.exec(line);
      const text = line.replace(/^\s*(?:[-*+]|\d+\.|#+|>)\s/, (mark) => blank(mark));
      if (piece === undefined || begins) {
        piece = { offset, text, kind: 'prose' };
        pieces.push(piece);
      } else {
        piece.text += text;
      }
      if (/^#+\s/.test(line)) piece = undefined;
    }
  }
  return pieces;
}

/** Comments and strings of TypeScript and JavaScript, as the parser finds them. */
function scriptPieces(path, source) {
  const { program, comments, errors } = parseSync(path, source);
  if (errors.length > 0) throw new Error(`${path}: ${errors[0].message}`);
  const pieces = commentPieces(
    comments.map(({ start, end }) => ({ offset: start, text: source.slice(start, end) })),
    source,
  );
  new Visitor({
    Literal: ({ value, start, end }) => {
      if (typeof value === 'string') pieces.push(...stringPieces(start, source.slice(start, end)));
    },
    TemplateLiteral: ({ expressions, start, end }) => {
      let text = source.slice(start, end);
      for (const hole of expressions) {
        // With the `${` before it and the `}` after it.
        const from = text.lastIndexOf('$', hole.start - start);
        const to = text.indexOf('}', hole.end - start) + 1;
        text = text.slice(0, from) + blank(text.slice(from, to), '_') + text.slice(to);
      }
      pieces.push(...stringPieces(start, text));
    },
  }).visit(program);
  return pieces;
}

/** @param {{ offset: number; text: string }[]} comments as they are written; line comments in lines after each other are one piece */
function commentPieces(comments, source) {
  const pieces = [];
  for (const { offset, text } of comments) {
    const isLine = !text.startsWith('/*');
    const read = withoutCode(
      text
        .replace(/^(?:\/\*+|\/\/+|#+)|\*+\/$/g, (mark) => blank(mark))
        .replaceAll(/^\s*\*+(?!\/)/gm, (mark) => blank(mark)),
    );
    const last = pieces.at(-1);
    const between = last === undefined ? '' : source.slice(last.offset + last.text.length, offset);
    if (last !== undefined && isLine && last.isLine && /^\n[ \t]*$/.test(between)) {
      last.text += between + read;
    } else {
      pieces.push({ offset, text: read, kind: 'comment', isLine });
    }
  }
  // What follows a tag, and what follows an empty line, is a text of its own.
  return pieces.flatMap(({ offset, text, kind }) =>
    parts(text, /(?:^|\n)[ \t]*(?=\n)|@(?:param|returns?|throws|property|typedef)\s+(?:\{[^}]*\}\s*)?\S+/g).map(
      (part) => ({
        offset: offset + part.offset,
        text: part.text,
        kind,
      }),
    ),
  );
}

/** The text between the matches of a pattern. */
function parts(text, separator) {
  const found = [];
  let from = 0;
  for (const { 0: match, index } of text.matchAll(separator)) {
    found.push({ offset: from, text: text.slice(from, index) });
    from = index + match.length;
  }
  found.push({ offset: from, text: text.slice(from) });
  return found.filter((part) => part.text.trim() !== '');
}

/** A string with its quotes; one without a space is a name. */
function stringPieces(offset, raw) {
  const read = withoutCode(raw.slice(1, -1)).replaceAll(/\\(?:[ntr]|u[0-9a-f]{4}|x[0-9a-f]{2})/gi, (sequence) =>
    blank(sequence),
  );
  return / /.test(read.trim()) ? [{ offset: offset + 1, text: read, kind: 'string' }] : [];
}

/** Comments and strings of C++ and CUDA; `#include "a file"` has no space in it. */
function cPieces(_path, source) {
  const comments = [];
  const pieces = [];
  for (const { 0: text, index } of source.matchAll(
    /\/\/.*|\/\*[\s\S]*?\*\/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'/g,
  )) {
    if (text.startsWith('/')) comments.push({ offset: index, text });
    else if (text.startsWith('"')) pieces.push(...stringPieces(index, text));
  }
  return [...commentPieces(comments, source), ...pieces];
}

/** Comments of shell and YAML: a # at the start of a line or after a space, outside of quotes. */
function hashPieces(_path, source) {
  const comments = [];
  let lineStart = 0;
  for (const line of source.split('\n')) {
    const [, before = '', comment] =
      /^((?:[^'"#\n]|'[^'\n]*'|"(?:\\.|[^"\\\n])*"|(?<=\S)#)*?)(?<!\S)(#.*)$/.exec(line) ?? [];
    if (comment !== undefined && !comment.startsWith('#!'))
      comments.push({ offset: lineStart + before.length, text: comment });
    lineStart += line.length + 1;
  }
  return commentPieces(comments, source);
}

function pythonPieces(_path, source) {
  const comments = [];
  const pieces = [];
  const tokens = /#.*|"""[\s\S]*?"""|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'/g;
  for (const { 0: text, index } of source.matchAll(tokens)) {
    if (text.startsWith('#!')) continue;
    if (text.startsWith('#')) comments.push({ offset: index, text });
    else pieces.push(...stringPieces(index, text));
  }
  return [...commentPieces(comments, source), ...pieces];
}

function htmlPieces(_path, source) {
  const text = withoutCode(source)
    .replaceAll(/<(script|style)\b[\s\S]*?<\/\1>/g, (code) => blank(code))
    .replaceAll(/<!--|-->/g, (mark) => blank(mark));
  return parts(text, /<[^>]*>|\n\s*\n/g).map((part) => ({ ...part, kind: 'prose' }));
}

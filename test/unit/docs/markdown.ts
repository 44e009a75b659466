/** What the tests of the documentation read of a Markdown page: links, anchors, messages, command lines. GitHub's rules. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { globSync } from 'tinyglobby';
import { packageRoot } from '../../../src/base/packageRoot.ts';

export interface Page {
  /** From the package's root: `docs/guide/data.md`. */
  readonly name: string;
  readonly text: string;
}

/** All that a reader of the repository is shown. */
export function readPages(): Page[] {
  const names = [
    'README.md',
    'ARCHITECTURE.md',
    'CONTRIBUTING.md',
    'SECURITY.md',
    ...globSync('docs/**/*.md', { cwd: packageRoot, ignore: '**/node_modules/**' }).sort(),
  ];
  return names.map((name) => ({ name, text: readFileSync(join(packageRoot, name), 'utf8') }));
}

const fence = /^( *)(`{3,})([^\n`]*)\n([\s\S]*?)^\1\2 *$/gm;

/** Targets of the links and pictures in the prose: those in fences and code spans do not count. */
export function linksOf({ text }: Page): string[] {
  const prose = text.replaceAll(fence, '').replaceAll(/(`+)(?!`)[^\n]*?[^`]\1(?!`)/g, '');
  const inline = [...prose.matchAll(/\]\(([^)\s]+)\)/g)];
  const referenced = [...prose.matchAll(/^\[[^\]]+\]: (\S+)$/gm)];
  return [...inline, ...referenced].map(([, target = '']) => target);
}

/** The ids that GitHub gives to the headings: the n-th of the same text ends with -n. */
export function anchorsOf({ text }: Page): Set<string> {
  const seen = new Map<string, number>();
  const headings = [...text.replaceAll(fence, '').matchAll(/^#{1,6} +(.+?) *#*$/gm)];
  return new Set(
    headings.map(([, heading = '']) => {
      const shown = heading.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase();
      const id = shown.replaceAll(/[^\p{L}\p{N}\p{M} _-]/gu, '').replaceAll(' ', '-');
      const count = seen.get(id) ?? 0;
      seen.set(id, count + 1);
      return count === 0 ? id : `${id}-${count}`;
    }),
  );
}

/** Messages that a page quotes: each code span in bold, with `…` for what varies. */
export function messagesOf({ text }: Page): string[] {
  const spans = text.matchAll(/\*\*(`+)(?!`)(.+?)(?<!`)\1(?!`)\*\*/gs);
  return [...spans].map(([, , message = '']) => message.replaceAll(/\s+/g, ' ').trim());
}

/** The words after `launch` of every command line in a fence, as a shell would cut them. Drawings have none. */
export function commandLinesOf({ text }: Page): { line: string; words: string[] }[] {
  const blocks = [...text.matchAll(fence)].filter(([, , , language = '']) =>
    /^(|sh|bash|console)$/.test(language.trim()),
  );
  const lines = blocks.flatMap(([, , , , body = '']) =>
    /[┌│└]/.test(body) ? [] : body.replaceAll(/\\\n\s*/g, ' ').split('\n'),
  );
  return lines.flatMap((line) => {
    const commands = cut(line);
    return commands.flatMap((words) => {
      const command = words.filter((word, i) => !(i === 0 && word === '$') && !/^[A-Z_]+=/.test(word));
      const called = command[0] === 'npx' ? command.slice(1) : command;
      return called[0] === 'launch' ? [{ line: line.trim(), words: called.slice(1) }] : [];
    });
  });
}

/** A line's commands, at pipes, `&&`, `;` and `&`; each as its words, without redirections. What follows a # is left out. */
function cut(line: string): string[][] {
  const commands: string[][] = [[]];
  const pieces = line.matchAll(
    /(#.*$)|(\|\|?|&&?|;)|[12]?>>?&?\s*\S*|((?:'[^']*'|"(?:\\.|[^"\\])*"|\\.|[^\s'"\\|&;<>])+)|\s+/g,
  );
  for (const [, comment, separator, word] of pieces) {
    if (comment !== undefined) break;
    if (separator !== undefined) commands.push([]);
    else if (word !== undefined) commands.at(-1)?.push(unquoted(word));
  }
  return commands;
}

function unquoted(word: string): string {
  return word.replaceAll(
    /'([^']*)'|"((?:\\.|[^"\\])*)"|\\(.)/g,
    (_, single, double, escaped) => single ?? double?.replaceAll(/\\(["\\$`])/g, '$1') ?? escaped,
  );
}

/** The documentation against what it is about: its links lead somewhere, it quotes real messages, its command lines can be typed. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { expect, it } from 'vitest';
import { ownCommand } from '../../../src/base/ownCommand.ts';
import { packageRoot } from '../../../src/base/packageRoot.ts';
import { commandLine } from '../../../src/cli/commandLine.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { shippedConfigs } from '../../../src/config/locate.ts';
import { anchorsOf, commandLinesOf, linksOf, messagesOf, type Page, readPages } from './markdown.ts';
import { hole, isWritten, textsIn, textsOfSource } from './sourceTexts.ts';

const pages = readPages();

it.each(pages.map((page) => [page.name, page] as const))('the links of %s lead somewhere', (_, page) => {
  expect(linksOf(page).flatMap((target) => problemOf(target, page))).toEqual([]);
});

/** What is wrong with a link; nothing is asked of those to other sites. */
function problemOf(target: string, { name, text }: Page): string[] {
  if (/^[a-z]+:/.test(target)) return [];
  const [path = '', anchor] = target.split('#');
  const found = path === '' ? name : normalize(join(dirname(name), decodeURIComponent(path)));
  const file = join(packageRoot, found);
  if (!existsSync(file)) return [`${target}: there is no ${found}`];
  if (anchor === undefined || !found.endsWith('.md') || !statSync(file).isFile()) return [];
  const there = path === '' ? text : readFileSync(file, 'utf8');
  return anchorsOf({ name: found, text: there }).has(anchor) ? [] : [`${target}: ${found} has no such heading`];
}

/** So that a message is known by what it says, not by its holes. */
const fixedCharsLeast = 10;

it('every message that troubleshooting.md quotes is written in src', () => {
  const page = pages.find(({ name }) => name === 'docs/guide/troubleshooting.md');
  const messages = page === undefined ? [] : messagesOf(page);
  expect(messages.length).toBeGreaterThan(50);
  expect(messages.filter((message) => message.replaceAll('…', '').length < fixedCharsLeast)).toEqual([]);
  const texts = textsOfSource();
  expect(messages.filter((message) => !isWritten(message, texts))).toEqual([]);
});

it('all that people read is plain English', () => {
  const { stderr } = spawnSync(process.execPath, [join(packageRoot, 'scripts', 'check-words.mjs')], {
    encoding: 'utf8',
  });
  expect(stderr.trim().split('\n')).toEqual(['']);
});

const lines = pages.flatMap((page) => commandLinesOf(page).map((command) => ({ ...command, page: page.name })));

it('the pages have command lines', () => {
  expect(lines.length).toBeGreaterThan(50);
});

it.each(lines)('$page: $line', async ({ words }) => {
  if (words.at(-1) === '--help') {
    // For a command that does not exist, it would be the general help.
    const help = await (await commandLine(words.slice(0, -1), '')).getHelp();
    expect(help.startsWith(ownCommand(...words.slice(0, -1)))).toBe(true);
    return;
  }
  await expect(parse(words)).resolves.toBeDefined();
});

/** What `launch` makes of a command line, which is not run. @throws UserError for what it would not take */
async function parse(words: readonly string[]): Promise<Record<string, unknown>> {
  class Parsed extends Error {
    readonly args: Record<string, unknown>;
    constructor(args: Record<string, unknown>) {
      super('parsed');
      this.args = args;
    }
  }
  // It is called when all is checked, before the command.
  const parser = (await commandLine(words, '')).middleware((args) => {
    throw new Parsed(args);
  });
  try {
    await parser.parseAsync();
  } catch (error) {
    if (!(error instanceof Parsed)) throw error;
    checkConfig(error.args);
    return error.args;
  }
  return expect.unreachable('the command has run');
}

/** The keys that are set; a config of the reader's own stands for the usual one, and rows of `finetune` for `data.examples`. */
function checkConfig({ set = [], config, rows }: { set?: string[]; config?: string; rows?: string }): void {
  const shipped = shippedConfigs().find((name) => name === config?.replace(/\.yaml$/, ''));
  const examples = rows === undefined ? [] : ['task.kind=classify', `data.examples=${rows}`];
  loadConfig({ file: shipped, overrides: [...examples, ...set], cwd: packageRoot });
}

/** The cells of the rows of a table, by the heading above it. */
function rowsBelow(heading: string, { text }: Page): string[][] {
  const [, after = ''] = text.split(`\n## ${heading}\n`);
  const lines = after
    .split('\n## ')[0]!
    .split('\n')
    .filter((line) => line.startsWith('|'));
  return lines.slice(2).map((line) => line.split('|').slice(1, -1));
}

const quotedIn = (text: string) => [...text.matchAll(/`([^`]+)`/g)].map(([, quoted = '']) => quoted);
const architecture = pages.find(({ name }) => name === 'ARCHITECTURE.md')!;

it('the code map has every folder of src, and files that exist', () => {
  const rows = rowsBelow('Code map', architecture);
  const mapped = rows.flatMap(([folder = '']) => quotedIn(folder)).filter((folder) => folder.startsWith('src/'));
  const folders = readdirSync(join(packageRoot, 'src'), { withFileTypes: true }).filter((entry) => entry.isDirectory());
  expect([...mapped].sort()).toEqual(folders.map(({ name }) => `src/${name}`).sort());
  const named = rows.flatMap(([folder = '', , start = '']) =>
    quotedIn(start).map((file) => join(quotedIn(folder)[0]!, file)),
  );
  expect(named.filter((path) => !existsSync(join(packageRoot, path)))).toEqual([]);
});

it('the files to edit for a change exist', () => {
  const rows = rowsBelow('Where to make a change', architecture);
  expect(rows.length).toBeGreaterThan(8);
  const named = rows.flatMap(([, ...cells]) => cells.flatMap(quotedIn)).filter((path) => path.includes('/'));
  const exists = (path: string) => ['src', '.'].some((base) => existsSync(join(packageRoot, base, path)));
  expect(named.filter((path) => !path.includes('NAME') && !exists(path))).toEqual([]);
});

it('reads a page as GitHub shows it', () => {
  const text = [
    '# Your *own* data: `--set`, too',
    'A [link](a.md#b), `no [link](c.md)`, **`a … b`** and **`` a `b` ``**.',
    '# Again\n# Again',
    '```\nA=1 npx launch eval --x \'a b\' "c d"   # [no](d.md)',
    'zcat a.gz | launch prepare - > out && launch; launcher',
    '  launch: no command',
    '```',
    '```yaml\nlaunch --no',
    '```',
  ].join('\n');
  const page = { name: 'page.md', text };
  expect(linksOf(page)).toEqual(['a.md#b']);
  expect([...anchorsOf(page)]).toEqual(['your-own-data---set-too', 'again', 'again-1']);
  expect(messagesOf(page)).toEqual(['a … b', 'a `b`']);
  expect(commandLinesOf(page).map(({ words }) => words)).toEqual([['eval', '--x', 'a b', 'c d'], ['prepare', '-'], []]);
});

it('knows what is written in a source', () => {
  const literal = (value: string) => ({ type: 'Literal', value });
  const sum = { type: 'BinaryExpression', operator: '+', left: literal('a '), right: { type: 'Identifier' } };
  const texts = [...textsIn([sum, literal('whole')])];
  expect(texts).toEqual([`a ${hole}`, 'whole']);
  expect(['a …', '…', 'whole', 'who…', 'ole', 'a'].map((message) => isWritten(message, texts))).toEqual([
    true,
    true,
    true,
    true,
    false,
    false,
  ]);
});

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { packageRoot } from '../../../src/base/packageRoot.ts';

const script = join(packageRoot, 'scripts', 'check-words.mjs');
let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'lockstep-words-'));
});

afterEach(() => rmSync(root, { recursive: true }));

/** What the script prints about a tree of these files, a line each. */
function check(files: Readonly<Record<string, string>>): { status: number | null; lines: string[] } {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  const { status, stderr } = spawnSync(process.execPath, [script, '--root', root], { encoding: 'utf8' });
  return { status, lines: stderr.split('\n').filter((line) => line !== '') };
}

/** The findings in one file, as `line:column: phrase`. */
function findings(path: string, text: string): string[] {
  return check({ [path]: text }).lines.map((line) => line.slice(path.length + 1).replace(/: [^:]+$/, ''));
}

describe('check-words', () => {
  it('names file, line, column, phrase and alternative, and fails', () => {
    const { status, lines } = check({ 'docs/a.md': 'Fine.\n\nThe run goes on.\n' });
    expect(lines).toEqual(['docs/a.md:3:9: "goes on": continue, resume, keep running']);
    expect(status).toBe(1);
  });

  it('accepts plain sentences', () => {
    const text = [
      'There is no file. A whole number is no longer needed. Of course.',
      'It is there-fore fine; one semicolon is too.',
      'The file that is missing goes on the list.',
    ].join('\n\n');
    expect(check({ 'docs/a.md': text, 'src/a.ts': `/** ${text} */\n` })).toEqual({ status: 0, lines: [] });
  });

  it.each([
    ['the whole file', '1:5: "whole"'],
    ['a batch of so many rows', '1:12: "so many"'],
    ['It is no checkpoint', '1:4: "is no"'],
    ['if the file is there.', '1:13: "is there"'],
    ['for whoever asks', '1:5: "whoever"'],
    ['a key of ours', '1:7: "of ours"'],
    ['Fine. Of two, one.', '1:7: a sentence that starts with "Of"'],
    ['A blazingly simple thing', '1:3: "blazingly"'],
    ['One; two; three.', '1:1: more than one semicolon in a sentence'],
    [`${'word '.repeat(41)}.`, '1:1: a sentence of 41 words'],
  ])('reports %j in Markdown', (text, finding) => {
    expect(findings('docs/a.md', text)).toEqual([finding]);
  });

  it('reads Markdown without its code, targets and tags', () => {
    const text = [
      'See `the whole file` and [a page](go on.md "x").',
      '',
      '<a id="whole"></a>',
      '```sh',
      '# goes on',
      '```',
      '',
      '| a whole cell | fine |',
      '- an item',
      '  that goes',
      '  on',
    ].join('\n');
    expect(findings('docs/a.md', text)).toEqual(['8:5: "whole"', '10:8: "goes on"']);
  });

  it('reads comments and strings of TypeScript, not names and code', () => {
    const text = [
      '/**',
      ' * It goes',
      ' * on. See `whole`. {@link whole}',
      ' * @param whole Of a file',
      ' */',
      "import { whole } from './whole.ts';",
      'const goesOn = { whole, is: /goes on/ };',
      '// It is',
      '// no run.',
      "export const a = whole('whole', `it $".concat("{goesOn.whole('a whole one')} goes on`, 'a\\nwhole b');"),
      '',
    ].join('\n');
    expect(findings('src/a.ts', text)).toEqual([
      '2:7: "goes on"',
      '4:17: a sentence that starts with "Of"',
      '8:7: "is no"',
      '10:55: "whole"',
      '10:68: "goes on"',
      '10:82: "whole"',
    ]);
  });

  it('reads comments and messages of C++, comments of shell, YAML and Python, and the text of HTML', () => {
    const { lines } = check({
      'native/a.cc':
        '#include "whole.h"\nint whole; // the whole\nthrow Error("not the whole one");\nchar c = \'"\'; /* goes on */\n',
      'scripts/a.sh': '#!/bin/sh\necho "# whole ones" # goes on\nwhole=$#whole\n',
      'configs/a.yaml': 'whole: 1 # the whole\nb: "# whole"\n',
      'bench/a.py': '"""Takes\nthe whole."""\nwhole = 1  # goes on\n',
      'src/a/index.html': '<p class="the whole">It goes on</p><script>const a = "the whole";</script>\n',
    });
    expect(lines.map((line) => line.split(': ')[0])).toEqual([
      'bench/a.py:2:5',
      'bench/a.py:3:14',
      'configs/a.yaml:1:16',
      'native/a.cc:2:19',
      'native/a.cc:3:22',
      'native/a.cc:4:18',
      'scripts/a.sh:2:23',
      'src/a/index.html:1:25',
    ]);
  });

  it('excuses the line of an allowance and the next, and reports one that is not needed', () => {
    const text = ['// words: allow - quotes a message', "const a = 'it goes on';", "const b = 'it goes on';"];
    expect(findings('src/a.ts', `${text.join('\n')}\n`)).toEqual(['3:15: "goes on"']);
    expect(check({ 'src/a.ts': '// words: allow - nothing\nconst a = 1;\n' }).lines).toEqual([
      'src/a.ts:1:1: "words: allow" excuses nothing: remove it',
    ]);
  });

  it('checks only the files and folders that are named', () => {
    check({ 'docs/a.md': 'It goes on.\n', 'docs/b.md': 'It goes on.\n', 'test/c.ts': '// It goes on.\n' });
    const named = ['docs/b.md', 'test'].map((path) => join(root, path));
    const { stderr } = spawnSync(process.execPath, [script, '--root', root, ...named], { encoding: 'utf8' });
    expect(stderr.match(/^[^:]+/gm)).toEqual(['docs/b.md', 'test/c.ts']);
  });
});

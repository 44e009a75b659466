/** The README's picture: how screens of a terminal become an animated SVG, and that the one in the repository is such. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { XMLParser, XMLValidator } from 'fast-xml-parser';
import { describe, expect, it } from 'vitest';
import { animationOf } from '../../bench/picture/animation.ts';
import { filmOf, filmSeconds } from '../../bench/picture/film.ts';
import { rowsOf, unstyled } from '../../bench/picture/screen.ts';
import { packageRoot } from '../../src/base/packageRoot.ts';

const green = '\u001b[32m';
const dim = '\u001b[2m';
const plain = '\u001b[39m\u001b[22m';

describe('a captured screen', () => {
  it('is pieces with their columns and styles', () => {
    const captured = `step 5/9  ${green}██▄${dim}░░${plain}  50 %\nno colour`;
    expect(rowsOf(captured)).toEqual([
      [
        { column: 0, text: 'step 5/9' },
        { column: 10, text: '██▄', colour: 'green' },
        { column: 13, text: '░░', colour: 'green', dim: true },
        { column: 17, text: '50 %' },
      ],
      [{ column: 0, text: 'no colour' }],
    ]);
    expect(unstyled(captured)).toBe('step 5/9  ██▄░░  50 %\nno colour');
  });

  it('keeps a style over the end of a row, and refuses what it cannot draw', () => {
    expect(rowsOf(`${dim}a\nb\u001b[0m`)[1]).toEqual([{ column: 0, text: 'b', dim: true }]);
    expect(() => rowsOf('\u001b[7mreversed')).toThrow('the code 7');
    expect(() => rowsOf('\u001b[2J')).toThrow('expected a style');
  });
});

/** Every 100 ms the step grows by one. */
const captures = Array.from({ length: 600 }, (_, step) => ({
  ms: 100 * step,
  upper: `step ${step}  ${'█'.repeat(step % 7)}\nrank  worker\n${step < 300 || step >= 340 ? '   1  local-0001' : ''}`,
  lower: step < 300 ? '$' : '$ kill -9 <1>',
}));
const film = filmOf({ captures, marks: { training: 1_000, killed: 30_000, back: 34_000, done: 59_000 } });

describe('a film', () => {
  const stepAt = (seconds: number) => film.shots.findLast(({ from }) => from <= seconds)!.rows[0]![0]!.text;

  it('shows what was on the screen, in the time that each part has', () => {
    const { before, around, after, end } = filmSeconds;
    expect(film.seconds).toBe(before + around + after + end);
    expect(film.shots[0]).toMatchObject({ from: 0, otherRows: [[{ text: '$' }]] });
    expect(stepAt(0)).toBe('step 10');
    expect(stepAt(before)).toBe('step 290');
    expect(stepAt(before + around)).toBe('step 350');
    expect(stepAt(film.seconds)).toBe('step 599');
    expect(film.shots[film.still]!.rows[0]![0]!.text).toBe('step 350');
  });
});

interface Node {
  readonly [tag: string]: unknown;
}

describe('an animation', () => {
  const svg = animationOf({
    ...film,
    columns: 40,
    rowCounts: [3, 1],
    titles: ['upper', 'lower'],
    description: 'a <test>',
  });

  it('is XML that describes itself, with a screen that stands still', () => {
    expect(XMLValidator.validate(svg)).toBe(true);
    const parsed = new XMLParser({ ignoreAttributes: false }).parse(svg) as { svg: Node };
    expect(parsed.svg['title']).toBe('a <test>');
    expect(svg).toContain('kill -9 &lt;1&gt;');
    expect(svg).toContain('prefers-reduced-motion');
    // What is on all screens is not animated; of the rest just what is on the still one is visible without animation.
    expect(svg).toMatch(/<g><text[^>]*>rank<\/text><text[^>]*>worker<\/text>/);
    const visible = [...svg.matchAll(/#(k\d+)\{opacity:1\}@/g)].map(([, id]) => id);
    const still = visible.map((id) => svg.slice(svg.indexOf(`<g id="${id}">`)).split('</g>')[0]);
    expect(still.join()).toContain('>step 350<');
    expect(still.join()).toContain('>local-0001<');
    expect(still.join().match(/>step \d+</g)).toHaveLength(1);
  });

  it('shows each piece for as long as its screens last', () => {
    const id = /<g id="(k\d+)">[^§]*?<\/g>/g;
    const groups = [...svg.matchAll(id)].find(([body]) => body.includes('>local-0001<'))!;
    const frames = new RegExp(`@keyframes ${groups[1]}\\{(.*?)\\}(?=#|@|<)`).exec(svg)![1]!;
    // Away once, while it is dead: from its death until its return, in per cent of the film.
    const [gone, returned] = [...frames.matchAll(/([\d.]+)%\{opacity:(\d)\}/g)].slice(1);
    expect([gone![2], returned![2]]).toEqual(['0', '1']);
    const seconds = [gone!, returned!].map(([, percent]) => (Number(percent) / 100) * film.seconds);
    const shown = film.shots.filter(({ rows }) => (rows[2] ?? []).length === 0).map(({ from }) => from);
    expect(seconds[0]).toBeCloseTo(shown[0]!, 2);
    expect(seconds[1]).toBeCloseTo(film.shots.find(({ from }) => from > shown.at(-1)!)!.from, 2);
  });
});

it("the README's picture is such an animation, and small", () => {
  const svg = readFileSync(join(packageRoot, 'docs/images/lost-worker.svg'), 'utf8');
  expect(XMLValidator.validate(svg)).toBe(true);
  expect(svg.length).toBeLessThan(150_000);
  for (const shown of ['npx launch --workers 3', 'kill -9', 'SIGKILL', 'restarting', 'done: runs/quickstart']) {
    expect(svg).toContain(shown);
  }
  expect(readFileSync(join(packageRoot, 'README.md'), 'utf8')).toContain('](docs/images/lost-worker.svg)');
});

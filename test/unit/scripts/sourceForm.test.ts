/** One form for the head of every file, which the formatter leaves as it is. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { packageRoot } from '../../../src/base/packageRoot.ts';

const files = ['src', 'scripts', 'bench', 'examples', 'test'].flatMap((folder) =>
  readdirSync(join(packageRoot, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(ts|mjs)$/.test(name))
    .map((name) => join(folder, name)),
);
const textOf = (name: string) => readFileSync(join(packageRoot, name), 'utf8');

it('finds the sources', () => expect(files.length).toBeGreaterThan(400));

it('has the imports directly below the comment that says what a file is for', () => {
  const header = String.raw`(?:/\*(?:(?!\*/)[^])*\*/\n|(?://.*\n)+)`;
  const apart = new RegExp(String.raw`^(?:#!.*\n)?${header}\n+import `);
  expect(files.filter((name) => apart.test(textOf(name)))).toEqual([]);
});

it('imports each module once', () => {
  const twice = files.flatMap((name) => {
    // A declaration that ends with `from` may begin on an earlier line.
    const modules = [...textOf(name).matchAll(/^(?:import .*|\}) from '([^']+)';$/gm)].map(([, module]) => module);
    return modules.filter((module, i) => modules.indexOf(module) !== i).map((module) => `${name}: ${module}`);
  });
  expect(twice).toEqual([]);
});

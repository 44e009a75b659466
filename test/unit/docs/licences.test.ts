import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { packageRoot } from '../../../src/base/packageRoot.ts';

/** Licences that let anyone use, change and redistribute the package. */
const PERMISSIVE = /^(MIT|ISC|0BSD|BSD-[23]-Clause|Apache-2\.0|MPL-2\.0|OFL-1\.1|CC0-1\.0|Unlicense|BlueOak-1\.0\.0)$/;

it('docs/licences.md lists the dependencies of package-lock.json, all of them under permissive licences', () => {
  const script = join(packageRoot, 'scripts', 'write-licences.mjs');
  const { stdout: page } = spawnSync(process.execPath, [script, '--print'], { encoding: 'utf8' });
  expect(readFileSync(join(packageRoot, 'docs', 'licences.md'), 'utf8')).toBe(page);
  const licences = [...page.matchAll(/^\| (?!-|package)[^|]+\|[^|]+\| ([^|]+?) +\|$/gm)].map((match) => match[1] ?? '');
  expect(licences.length).toBeGreaterThan(20);
  const names = licences.flatMap((licence) => licence.replaceAll(/[()]/g, '').split(/ AND | OR /));
  expect(names.filter((name) => !PERMISSIVE.test(name))).toEqual([]);
});

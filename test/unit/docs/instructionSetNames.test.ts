import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { instructionSets } from '../../../src/base/instructionSets.ts';
import { packageRoot } from '../../../src/base/packageRoot.ts';

it('people read one name of an instruction set, the one that doctor prints', () => {
  const under = (folder: string, ending: string) =>
    readdirSync(join(packageRoot, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith(ending) && !name.includes('node_modules'))
      .map((name) => join(folder, name));
  const files = ['README.md', 'ARCHITECTURE.md', 'CHANGELOG.md', 'configs/schema.json']
    .concat(under('docs', '.md'))
    .concat(under('src', '.ts'));
  const spellings = files.flatMap((file) =>
    [...readFileSync(join(packageRoot, file), 'utf8').matchAll(/AVX[- ]?512[-_ ]?BF16/g)].map(([name]) => name),
  );
  expect([...new Set(spellings)]).toEqual([instructionSets.avx512bf16.label]);
});

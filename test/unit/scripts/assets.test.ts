/** assets/ is what scripts/write-assets.mjs makes of the installed packages. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { brotliDecompressSync } from 'node:zlib';
import { expect, it } from 'vitest';
import { packageRoot } from '../../../src/base/packageRoot.ts';

const require = createRequire(import.meta.url);
const asset = (...names: string[]) => readFileSync(join(packageRoot, 'assets', ...names));
const original = (name: string) => readFileSync(require.resolve(name));

it('assets are the rank tables and fonts of the installed packages', () => {
  for (const name of ['r50k_base', 'cl100k_base', 'o200k_base']) {
    const { default: ranks } = require(`gpt-tokenizer/bpeRanks/${name}`) as { default: unknown };
    const packed = brotliDecompressSync(asset('bpeRanks', `${name}.json.br`));
    expect(packed.equals(Buffer.from(JSON.stringify(ranks))), name).toBe(true);
  }
  const inter = '@expo-google-fonts/inter';
  for (const weight of ['400Regular', '600SemiBold']) {
    const name = `Inter_${weight}.ttf`;
    expect(asset('fonts', name).equals(original(`${inter}/${weight}/${name}`)), name).toBe(true);
  }
  expect(asset('fonts', 'LICENSE').equals(original(`${inter}/LICENSE_FONT`))).toBe(true);
});

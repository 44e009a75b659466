/** Data as people have it trains with one command, and what no file can use is refused. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { beforeAll, expect, it } from 'vitest';
import { launch, metricsOf, set, tiny, useFolder } from './launch.ts';

const folder = useFolder();
const russian = 'Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему.';

beforeAll(() => {
  const rows = Array.from({ length: 400 }, (_, i) => `${i},"Review ${i}: good, ""really""\nvery good",${i % 5}`);
  writeFileSync(join(folder(), 'reviews.csv'), `\ufeffid,review,stars\r\n${rows.join('\r\n')}\r\n`);
  const lines = Array.from({ length: 400 }, (_, i) => JSON.stringify({ text: `Document ${i} of a crawl.`, url: 'u' }));
  writeFileSync(join(folder(), 'c4-train.00000.json.gz'), gzipSync(`${lines.join('\n')}\n`));
  mkdirSync(join(folder(), 'ru/tolstoy'), { recursive: true });
  writeFileSync(join(folder(), 'ru/tolstoy/1.txt'), `${russian}\r\n`.repeat(100));
  writeFileSync(join(folder(), 'ru/2.txt'), russian.repeat(20));
  writeFileSync(join(folder(), 'val.txt'), `${russian}\n`.repeat(5));
});

it.each<[string, string[], RegExp]>([
  ['a CSV', ['data.text=reviews.csv', 'data.field=review'], /^data reviews\.csv: 1\d,\d+ characters/m],
  ['JSON lines in gzip', ['data.text=c4-train.*.json.gz'], /^data c4-train\.\*\.json\.gz: 9,\d+ characters/m],
  [
    'a folder of Russian text',
    ['data.text=ru', 'data.validation=val.txt'],
    /^100 line ends were CRLF and became LF.*\n[\s\S]*^data ru \(2 files\): .* to validate \(val\.txt\)$/m,
  ],
])('%s trains with one command', async (_, data, described) => {
  const options = set(...tiny, ...data, 'train.maxSteps=3', 'eval.everySteps=3', 'sample.maxTokens=5');
  const { code, stdout, stderr } = await launch(['--workers', '1', '--run-dir', 'run', ...options], folder());
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toMatch(described);
  const run = join(folder(), 'run');
  expect((await metricsOf(run)).flatMap(({ loss, valLoss }) => loss ?? valLoss ?? [])).toHaveLength(4);
  const { model } = JSON.parse(readFileSync(join(run, 'checkpoints/step-00000003/tokenizer.json'), 'utf8'));
  // From the text alone: neither markup nor other columns.
  expect(Object.keys(model.vocab).filter((character) => '{};\r'.includes(character))).toEqual([]);
  rmSync(run, { recursive: true });
});

it('trains on data of which nothing is held out, where nothing is validated', async () => {
  const prepared = await launch(
    ['prepare', 'ru', '--tokenizer', 'byte', '--val-fraction', '0', '--out', 'whole'],
    folder(),
  );
  expect(prepared.stderr).toContain('no validation data: training on this folder needs data.validation=TEXT');
  const options = set(...tiny.slice(1), 'data.shards=whole', 'train.maxSteps=2');
  const trained = await launch(['--workers', '1', '--run-dir', 'all', ...options], folder());
  expect({ code: trained.code, stderr: trained.stderr }).toEqual({ code: 0, stderr: '' });
  const evaluated = await launch(['eval', '--checkpoint', 'all', '--split', 'all', '--json'], folder());
  expect(JSON.parse(evaluated.stdout).loss).toBeGreaterThan(1);
});

it('refuses an option that no file can use', async () => {
  const args = ['prepare', 'ru', '--field', 'text', '--tokenizer', 'gpt2', '--out', 'never'];
  const { code, stderr } = await launch(args, folder());
  expect(code).toBe(2);
  expect(stderr).toMatch(/--field: the sources are read as text, .*\(ru\/2\.txt, ru\/tolstoy\/1\.txt\)/);
});

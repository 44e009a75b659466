/** Makes results.json and a table of the records of the GPU check: node bench/gpu/report.mjs FOLDER. Exit code 1 if any failed. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const [, , folder] = process.argv;

function recordsOf(file) {
  const lines = readFileSync(join(folder, file), 'utf8').split('\n').filter(Boolean);
  return lines.map((line) => {
    try {
      return JSON.parse(line);
    } catch {
      return { part: file.replace('.jsonl', ''), name: 'record', failed: `not JSON: ${line.slice(0, 100)}` };
    }
  });
}

const shortNumber = (value) =>
  Math.abs(value) >= 1000 ? Math.round(value).toLocaleString('en-US') : Number(value.toPrecision(4)).toString();

function textOf({ failed, value, unit, ...more }) {
  if (failed !== undefined) return `FAILED: ${failed}`;
  const numbers = Object.entries(more).filter(([, number]) => typeof number === 'number');
  const notes = numbers.map(([name, number]) => `${name} ${shortNumber(number)}`).join(', ');
  return `${typeof value === 'number' ? shortNumber(value) : value} ${unit}`.trim() + (notes && ` (${notes})`);
}

const files = readdirSync(folder).filter((name) => name.endsWith('.jsonl'));
const records = files.sort().flatMap(recordsOf);
const results = join(folder, 'results.json');
writeFileSync(results, `${JSON.stringify(records, null, 1)}\n`);
const width = Math.max(0, ...records.map(({ name }) => name.length));
for (const part of new Set(records.map((record) => record.part))) {
  process.stdout.write(`\n${part}\n`);
  for (const record of records.filter((other) => other.part === part)) {
    process.stdout.write(`  ${record.name.padEnd(width)}  ${textOf(record)}\n`);
  }
}
const failed = records.filter((record) => record.failed !== undefined).length;
process.stdout.write(`\n${records.length - failed} results, ${failed} failed, all in ${results}\n`);
process.exitCode = failed > 0 || records.length === 0 ? 1 : 0;

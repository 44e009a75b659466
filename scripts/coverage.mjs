/**
 * Prints the share of source lines that the unit tests run: in total, and for each module below half.
 * Reads build/coverage/coverage-summary.json, which `npx vitest run --project unit --coverage` writes.
 */
import { readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { total, ...modules } = JSON.parse(readFileSync(join(root, 'build/coverage/coverage-summary.json'), 'utf8'));

const low = Object.entries(modules)
  .map(([path, { lines }]) => ({ path: relative(root, path), ...lines }))
  .filter(({ pct }) => pct < 50)
  .sort((a, b) => a.pct - b.pct || b.total - a.total);
process.stdout.write(
  `unit tests run ${total.lines.pct} % of ${total.lines.total} lines in ${Object.keys(modules).length} modules; less than half of ${low.length}:\n`,
);
for (const { path, pct, total: lines } of low) {
  process.stdout.write(`${pct.toFixed(0).padStart(5)} % of ${String(lines).padStart(4)}  ${path}\n`);
}

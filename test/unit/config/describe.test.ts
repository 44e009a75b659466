import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { describeConfig } from '../../../src/config/describe.ts';
import { configGroups } from '../../../src/config/keys.ts';

it('docs/config.md is what the schema says (if not: npm run build && node scripts/write-config-docs.mjs)', () => {
  expect(readFileSync(new URL('../../../docs/config.md', import.meta.url), 'utf8')).toBe(describeConfig());
});

it('has a row for every key', () => {
  const rows = describeConfig()
    .split('\n')
    .filter((line) => line.startsWith('| `'));
  expect(rows).toHaveLength(configGroups.flatMap(({ keys }) => keys).length);
  for (const row of rows) expect(row.split(' | ')).toHaveLength(4);
});

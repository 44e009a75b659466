import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { describeConfig } from '../../../src/config/describe.ts';
import { describeTypes } from '../../../src/config/describeTypes.ts';
import { configGroups } from '../../../src/config/keys.ts';

it('docs/config.md is what the schema says (if not: npm run docs:config)', () => {
  expect(readFileSync(new URL('../../../docs/config.md', import.meta.url), 'utf8')).toBe(describeConfig());
});

it('src/config/configTypes.ts is what the schema says (if not: as above)', () => {
  expect(readFileSync(new URL('../../../src/config/configTypes.ts', import.meta.url), 'utf8')).toBe(describeTypes());
});

it('has a line for every key, with its documentation', () => {
  const lines = describeConfig().split('\n');
  for (const { path, doc } of configGroups.flatMap(({ keys }) => keys)) {
    expect(lines.filter((line) => line.startsWith(`- \`${path}\`: ${doc} Default`))).toHaveLength(1);
  }
});

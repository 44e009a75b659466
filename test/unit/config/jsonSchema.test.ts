import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { configJsonSchema } from '../../../src/config/jsonSchema.ts';
import { configGroups } from '../../../src/config/keys.ts';
import { shippedConfigs } from '../../../src/config/locate.ts';
import { renderConfig } from '../../../src/config/render.ts';
import { configSchema } from '../../../src/config/schema.ts';

const configs = new URL('../../../configs/', import.meta.url);
const validate = new Ajv2020({ allErrors: true, strict: true, allowUnionTypes: true }).compile(
  JSON.parse(configJsonSchema()),
);
/** What an independent validator finds wrong with a config. */
const problemsOf = (yaml: string) => {
  validate(parse(yaml));
  return (validate.errors ?? []).map(({ instancePath, keyword }) => `${instancePath} ${keyword}`);
};

it('configs/schema.json is what the schema says (if not: npm run docs:config)', () => {
  expect(readFileSync(new URL('schema.json', configs), 'utf8')).toBe(configJsonSchema());
});

it.each(shippedConfigs())('%s.yaml names the schema in its first line, and is valid', (name) => {
  const text = readFileSync(new URL(`${name}.yaml`, configs), 'utf8');
  expect(text).toMatch(/^# yaml-language-server: \$schema=\.\/schema\.json\n/);
  expect(problemsOf(text)).toEqual([]);
});

describe('the JSON Schema', () => {
  it('has every key with its documentation and default', () => {
    const { properties } = JSON.parse(configJsonSchema());
    for (const group of configGroups) {
      const schema = properties[group.name];
      const options = group.variants.map(({ name }) =>
        schema.oneOf.find((option: typeof schema) => option.properties.architecture.const === name),
      );
      expect(schema.oneOf?.length ?? 0).toBe(options.length);
      for (const [index, keys] of [group.keys, ...group.variants.map((variant) => variant.keys)].entries()) {
        for (const { name, doc, defaultValue } of keys) {
          const property = (index === 0 ? (options[0] ?? schema) : options[index - 1]).properties[name];
          expect(property).toMatchObject({ description: doc, default: defaultValue });
        }
      }
    }
  });

  it('takes an empty config, and what a run writes down', () => {
    expect(problemsOf('{}')).toEqual([]);
    expect(problemsOf(renderConfig(configSchema.parse({})))).toEqual([]);
  });

  it.each([
    ['model: {nLayers: 2}', '/model additionalProperties'],
    ['modle: {}', ' additionalProperties'],
    ['model: {nLayer: 0}', '/model/nLayer minimum'],
    ['model: {nLayer: 1.5}', '/model/nLayer type'],
    ['train: {maxSteps: many}', '/train/maxSteps type'],
    ['engine: {precision: fp8}', '/engine/precision enum'],
    ['comm: {chunkBytes: 6}', '/comm/chunkBytes multipleOf'],
    ['data: {tokenizer: words}', '/data/tokenizer anyOf'],
  ])('refuses %s', (yaml, problem) => {
    expect(problemsOf(yaml)).toContain(problem);
    expect(configSchema.safeParse(parse(yaml)).success).toBe(false);
  });

  it.each(['char', 'bpe:512', 'bpe:100000', 'my/tokenizer.json', 'tokenizer.json', 'folder/'])(
    'takes the tokenizer %s, as the config does',
    (tokenizer) => {
      expect(problemsOf(`data: {tokenizer: "${tokenizer}"}`)).toEqual([]);
      expect(configSchema.safeParse({ data: { tokenizer } }).success).toBe(true);
    },
  );
});

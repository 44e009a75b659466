/**
 * The types of a config as TypeScript, with the documentation of each key, which editors show. scripts/write-config-docs.mjs writes
 * them to configTypes.ts; the compiler checks in schema.ts that the schema agrees with them.
 */
import { z } from 'zod';
import { InvariantError } from '../base/errors.ts';
import { type ConfigGroup, type ConfigKey, configGroups } from './keys.ts';

interface JsonType {
  readonly type?: string;
  readonly const?: string;
  readonly enum?: readonly string[];
  readonly anyOf?: readonly JsonType[];
  readonly items?: JsonType;
}

const head = `/**
 * The types of a config, with the documentation of its keys. Generated from schema.ts by scripts/write-config-docs.mjs: edit
 * the schema.
 */
import type { TokenizerKind } from '../base/tokenizerKind.ts';
`;

const tail = `/** A group of keys as a user writes it: every key is optional and has a default. */
export type KeysInput<Group> = { [Key in keyof Group]?: Group[Key] | undefined };

/** A config as a user writes it, in YAML or for \`train\`: every group and key is optional. */
export type ConfigInput = { [Group in keyof Config]?: KeysInput<Config[Group]> | undefined };
`;

/** The text of configTypes.ts. */
export function describeTypes(): string {
  const groups = configGroups.flatMap((group) => (group.variants.length === 0 ? groupType(group) : unionType(group)));
  const members = configGroups.map(({ name, doc }) => `  /** ${doc} */\n  ${name}: ${interfaceOf(name)};`);
  const config = `/** A complete, valid config: with every key of every group. */\nexport interface Config {\n${members.join('\n')}\n}\n`;
  return [head, ...groups, config, tail].join('\n');
}

function groupType({ name, doc, keys }: Pick<ConfigGroup, 'name' | 'doc' | 'keys'>): string {
  const members = keys.map((key) => `  /** ${keyDoc(key)} */\n  ${key.name}: ${typeOf(key)};`);
  return `/** ${doc} */\nexport interface ${interfaceOf(name)} {\n${members.join('\n')}\n}\n`;
}

/** The union of one interface per variant, in which the key that selects the variant has a single value. */
function unionType({ name, doc, keys: [chooser, ...keys], variants }: ConfigGroup): string[] {
  if (chooser === undefined) throw new InvariantError(`nothing chooses a variant of ${name}`);
  const types = variants.map((variant) => {
    const choice = { ...chooser, schema: z.literal(variant.name), defaultValue: chooser.defaultValue };
    return groupType({ name: variant.name, doc: variant.doc, keys: [choice, ...keys, ...variant.keys] });
  });
  const union = variants.map((variant) => interfaceOf(variant.name)).join(' | ');
  return [...types, `/** ${doc} */\nexport type ${interfaceOf(name)} = ${union};\n`];
}

function interfaceOf(group: string): string {
  return `${group[0]?.toUpperCase()}${group.slice(1)}Keys`;
}

function keyDoc({ doc, expects, defaultValue }: ConfigKey): string {
  return `${doc} Default \`${JSON.stringify(defaultValue)}\`, ${expects}.`;
}

function typeOf({ path, schema }: ConfigKey): string {
  // Checked in code: JSON Schema cannot express it.
  if (path === 'data.tokenizer') return 'TokenizerKind';
  return typeText(z.toJSONSchema(schema, { io: 'output' }) as JsonType);
}

function typeText({ type, const: constant, enum: values, anyOf, items }: JsonType): string {
  if (constant !== undefined) return `'${constant}'`;
  if (values !== undefined) return values.map((value) => `'${value}'`).join(' | ');
  if (anyOf !== undefined) return anyOf.map(typeText).join(' | ');
  if (items !== undefined) return items.enum ? `(${typeText(items)})[]` : `${typeText(items)}[]`;
  return type === 'integer' ? 'number' : String(type);
}

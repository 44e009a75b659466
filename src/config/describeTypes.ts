/**
 * The types of a config as TypeScript, each key with its documentation, which editors show to programs that train: configTypes.ts is
 * its output (scripts/write-config-docs.mjs). That the schema agrees with them is checked where it is defined.
 */
import { z } from 'zod';
import { type ConfigKey, configGroups } from './keys.ts';

interface JsonType {
  readonly type?: string;
  readonly enum?: readonly string[];
  readonly anyOf?: readonly JsonType[];
  readonly items?: JsonType;
}

const head = `/**
 * The types of a config, with the documentation of its keys. Written from the schema (schema.ts) by scripts/write-config-docs.mjs:
 * edit those.
 */
import type { TokenizerKind } from '../base/tokenizerKind.ts';
`;

const tail = `/** A group of keys as it is written: each may be left out, and has its default then. */
export type KeysInput<Group> = { [Key in keyof Group]?: Group[Key] | undefined };

/** A config as it is written, in YAML or for \`train\`: any group and key may be left out. */
export type ConfigInput = { [Group in keyof Config]?: KeysInput<Config[Group]> | undefined };
`;

/** The text of configTypes.ts. */
export function describeTypes(): string {
  const groups = configGroups.map(({ name, doc, keys }) => {
    const members = keys.map((key) => `  /** ${keyDoc(key)} */\n  ${key.name}: ${typeOf(key)};`);
    return `/** ${doc} */\nexport interface ${interfaceOf(name)} {\n${members.join('\n')}\n}\n`;
  });
  const members = configGroups.map(({ name, doc }) => `  /** ${doc} */\n  ${name}: ${interfaceOf(name)};`);
  const config = `/** A complete, valid config: every key of every group is there. */\nexport interface Config {\n${members.join('\n')}\n}\n`;
  return [head, ...groups, config, tail].join('\n');
}

function interfaceOf(group: string): string {
  return `${group[0]?.toUpperCase()}${group.slice(1)}Keys`;
}

function keyDoc({ doc, expects, defaultValue }: ConfigKey): string {
  return `${doc} Default \`${JSON.stringify(defaultValue)}\`, ${expects}.`;
}

function typeOf({ path, schema }: ConfigKey): string {
  // A check in code, of which JSON Schema knows nothing.
  if (path === 'data.tokenizer') return 'TokenizerKind';
  return typeText(z.toJSONSchema(schema, { io: 'output' }) as JsonType);
}

function typeText({ type, enum: values, anyOf, items }: JsonType): string {
  if (values !== undefined) return values.map((value) => `'${value}'`).join(' | ');
  if (anyOf !== undefined) return anyOf.map(typeText).join(' | ');
  if (items !== undefined) return `${typeText(items)}[]`;
  return type === 'integer' ? 'number' : String(type);
}

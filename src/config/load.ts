/**
 * Loads the configuration of a run: a YAML file, then `--set` overrides, checked against the schema. Every error is a UserError
 * that names the file and line (or the override), the expected and the received value, and the nearest key for an unknown one.
 */
import type { z } from 'zod';
import { UserError } from '../base/errors.ts';
import { checkOptionNames, type OptionNames } from '../base/optionNames.ts';
import { checkOptionTypes, checkPath, isRecord, received } from '../base/optionValues.ts';
import { overrideText } from '../base/ownCommand.ts';
import { engineHint } from '../engine/engines.ts';
import type { Config, ConfigInput } from './configTypes.ts';
import { crossChecks } from './crossChecks.ts';
import { configGroups, configKey, nearestKey, variantsWith } from './keys.ts';
import { readConfigFile } from './locate.ts';
import { type Override, parseOverride } from './overrides.ts';
import { formerPath, replacementText, withTodaysKeys } from './renamedKeys.ts';
import { configSchema } from './schema.ts';
import { parseYaml } from './yamlSource.ts';

/** What `launch` runs when no config is named. */
const defaultConfig = 'quickstart.yaml';
/** A file of another program has hundreds of wrong keys; the first few are enough. */
const problemsMax = 8;

/** The name in messages of a config given as an object. */
const objectName = 'config';

/** Where a config comes from. */
export interface LoadConfigOptions {
  /** The config itself, instead of a file. */
  readonly config?: ConfigInput | undefined;
  /** A path, or the name of a config in the working folder or in the package. Default: `quickstart.yaml`. */
  readonly file?: string | undefined;
  /** Each `group.key=value`. They take precedence over the file, later ones over earlier ones. */
  readonly overrides?: readonly string[] | undefined;
  /** The working folder. */
  readonly cwd: string;
}

const loadNames = {
  config: true,
  file: true,
  overrides: true,
  cwd: true,
} satisfies OptionNames<LoadConfigOptions>;

/** A checked config. */
export interface LoadedConfig {
  /** Has every key. */
  readonly config: Config;
  /** The file name to show; `config` for an object. */
  readonly source: string;
  /** Each `group.key` that the user set, in an override or in their own config. Values of a shipped config count as defaults. */
  readonly chosen: readonly string[];
  /** Each `group.key` in a shipped config that the user named, not in the default one. */
  readonly suggested: readonly string[];
}

/**
 * Reads a config, applies the overrides and checks it; missing keys get their defaults.
 * @throws UserError that names each wrong key, its line, and the expected and received values; and for an unknown option
 */
export function loadConfig(options: LoadConfigOptions): LoadedConfig {
  checkOptionNames('loadConfig', options, loadNames);
  checkOptionTypes(options, { file: 'a string', overrides: 'an array of strings' });
  const { config, file, overrides = [], cwd } = options;
  checkPath('cwd', cwd);
  if (config !== undefined) {
    if (!isRecord(config)) throw new UserError(`config: expected an object, received ${received(config)}`);
    const checked = checkConfig(config, { overrides, originOf: () => objectName });
    return { config: checked, source: objectName, chosen: keysOf(config, overrides), suggested: [] };
  }
  const { text, name, isShipped } = readConfigFile(file ?? defaultConfig, cwd);
  const parsed = parseConfig({ text, name, overrides });
  const { value } = parseYaml(text, name);
  return {
    config: parsed,
    source: name,
    chosen: keysOf(isShipped ? {} : value, overrides),
    suggested: isShipped && file !== undefined ? keysOf(value, []) : [],
  };
}

/** Each `group.key` in a checked config and its overrides. */
function keysOf(given: unknown, overrides: readonly string[]): string[] {
  const groups = Object.entries(recordAt(withOverrides(withTodaysKeys(given ?? {}), overrides.map(parseOverride)), []));
  return groups.flatMap(([group, keys]) => (isRecord(keys) ? Object.keys(keys).map((key) => `${group}.${key}`) : []));
}

export interface ParseConfigOptions {
  /** YAML. */
  readonly text: string;
  /** The name of the text in messages: a file name. */
  readonly name: string;
  readonly overrides?: readonly string[] | undefined;
}

/** {@link loadConfig} for text that is already read, such as the `config.yaml` in a checkpoint. */
export function parseConfig({ text, name, overrides = [] }: ParseConfigOptions): Config {
  const yaml = parseYaml(text, name);
  return checkConfig(yaml.value, { overrides, originOf: (path) => `${name}:${yaml.lineOf(path)}` });
}

interface CheckOptions {
  readonly overrides: readonly string[];
  /** Where the value at a path was written. */
  readonly originOf: (path: readonly PropertyKey[]) => string;
}

function checkConfig(given: unknown, { overrides, originOf }: CheckOptions): Config {
  const parsedOverrides = overrides.map(parseOverride);
  const input = withOverrides(withTodaysKeys(given), parsedOverrides);
  const result = configSchema.safeParse(input);
  if (result.success) return result.data;

  const origin = (path: readonly PropertyKey[]): string => {
    const dotted = path.slice(0, 2).join('.');
    const override = parsedOverrides.findLast(({ key }) => key.path === dotted);
    if (override) return overrideText(override.text);
    const written = valueAt(given, path) === undefined ? formerPath(path) : path;
    return valueAt(given, written) === undefined ? 'default' : originOf(written);
  };
  const problems = result.error.issues.flatMap((issue) => describeIssue(issue, input, origin));
  const more = problems.length > problemsMax ? [`... and ${problems.length - problemsMax} more.`] : [];
  throw new UserError([...problems.slice(0, problemsMax), ...more].join('\n'));
}

function withOverrides(fileValue: unknown, overrides: readonly Override[]): unknown {
  if (overrides.length === 0 || !isRecord(fileValue)) return fileValue;
  const value: Record<string, unknown> = { ...fileValue };
  for (const { key, value: leaf } of overrides) {
    const group = value[key.group] ?? {};
    // The schema reports a group that is not a map.
    if (isRecord(group)) value[key.group] = { ...group, [key.name]: leaf };
  }
  return value;
}

/** One line for each problem. */
function describeIssue(
  issue: z.core.$ZodIssue,
  input: unknown,
  origin: (path: readonly PropertyKey[]) => string,
): string[] {
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((name) => {
      const path = [...issue.path, name];
      const dotted = path.join('.');
      const group = issue.path.length === 0 ? {} : recordAt(input, issue.path);
      const elsewhere = variantsWith(dotted);
      if (elsewhere !== undefined) {
        const { chooser, names } = elsewhere;
        return `${origin(path)}: ${dotted} needs ${chooser}: ${names.join(' or ')}, but it is ${shown(chosenBy(chooser, group))} (${origin(chooser.split('.'))}).`;
      }
      const guess = nearestKey(dotted, group);
      const known = issue.path.length === 0 ? `Groups: ${configGroups.map((group) => group.name).join(', ')}.` : '';
      return `${origin(path)}: unknown key ${dotted}. ${guess === undefined ? known : `Did you mean ${guess}?`}`.trim();
    });
  }
  const dotted = issue.path.slice(0, 2).join('.');
  const got = valueAt(input, issue.path.slice(0, 2));
  const crossCheck = issue.code === 'custom' ? issue.params?.['crossCheck'] : undefined;
  if (crossCheck !== undefined) {
    const check = crossChecks[Number(crossCheck)];
    const otherPath = check?.other.split('.') ?? [];
    // The input has no defaults: those come from the schema.
    const show = (path: readonly string[]) => {
      const key = configKey(path.join('.'), recordAt(input, path.slice(0, 1)));
      return `${path.join('.')} = ${shown(valueAt(input, path) ?? key?.defaultValue)}`;
    };
    const path = issue.path.map(String);
    const detail = issue.code === 'custom' ? issue.params?.['detail'] : undefined;
    const why = detail === undefined ? '' : `: ${detail}`;
    return [
      `${origin(path)}: ${show(path)} ${check?.must} ${show(otherPath)} (${origin(otherPath)})${why}.${check?.cure === undefined ? '' : ` ${check.cure}.`}`,
    ];
  }
  const group = recordAt(input, issue.path.slice(0, 1));
  const expected = configKey(dotted, group)?.expects ?? 'a group of keys, indented below it';
  const problem = `${origin(issue.path.slice(0, 2))}: ${dotted}: expected ${expected}, received ${shown(got)}.`;
  const instead = replacementText(dotted, got) ?? (dotted === 'engine.name' ? engineHint(got) : undefined);
  return [instead === undefined ? problem : `${problem} ${instead}`];
}

/** A value as the user would recognise it, with its type if the text alone is ambiguous. */
function shown(value: unknown): string {
  if (value === null) return 'nothing (null)';
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}...` : value);
  if (Array.isArray(value)) {
    if (value.length === 0) return 'an empty list';
    const text = JSON.stringify(value);
    return text.length > 80 ? `a list of ${value.length}` : text;
  }
  if (typeof value === 'object') return 'a group of keys';
  return String(value);
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  let current = value;
  for (const part of path) {
    if (!isRecord(current) || !Object.hasOwn(current, part)) return undefined;
    current = current[String(part)];
  }
  return current;
}

/** The value of the key that selects the variant of its group. */
function chosenBy(chooser: string, group: Readonly<Record<string, unknown>>): unknown {
  return group[chooser.split('.')[1] ?? ''] ?? configKey(chooser)?.defaultValue;
}

function recordAt(value: unknown, path: readonly PropertyKey[]): Readonly<Record<string, unknown>> {
  const found = valueAt(value, path);
  return isRecord(found) ? found : {};
}

/** The `config.yaml` of a run to go on with: a part of it would be a whole config, with defaults in place of what is missing. */
import { UserError } from '../base/errors.ts';
import { readConfigFile } from '../config/locate.ts';
import { parseYaml } from '../config/yamlSource.ts';
import type { RunFolder } from './runFolder.ts';

/** Those that every version has written, in this order; a group that is new in one is missing from the runs of others. */
const groups = [
  'model',
  'data',
  'train',
  'optimizer',
  'schedule',
  'checkpoint',
  'eval',
  'sample',
  'engine',
  'comm',
] as const;

/** @throws UserError if the file is empty or was cut off */
export function checkRunConfig({ configPath }: RunFolder, cwd: string): void {
  const { text, name } = readConfigFile(configPath, cwd);
  const problem = text.trim() === '' ? 'it is empty' : cutOff(text, name);
  if (problem === undefined) return;
  throw new UserError(
    `${name} is not whole: ${problem}; copy it from a backup, or write it anew from \`config\` in trainer.json of the newest checkpoint (JSON is YAML)`,
  );
}

function cutOff(text: string, name: string): string | undefined {
  const lines = text.split('\n');
  // The rest of a value may be a value: of 1000 it could be 10. JSON has its own end.
  if (lines.at(-1) !== '' && !text.endsWith('}')) return `it ends in the middle of line ${lines.length}`;
  const found = Object.keys(parseYaml(text, name).value as object);
  const missing = groups.filter((group) => !found.includes(group));
  return missing.length === 0 ? undefined : `it has no ${missing.map((group) => `${group}:`).join(' ')}`;
}

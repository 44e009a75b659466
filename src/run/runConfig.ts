/** Checks that the `config.yaml` of a run to resume is complete: part of a file would also load, with defaults for the missing keys. */
import { UserError } from '../base/errors.ts';
import { readConfigFile } from '../config/locate.ts';
import { parseYaml } from '../config/yamlSource.ts';
import type { RunFolder } from './runFolder.ts';

/** The groups that every version has written, in this order. Groups added later are missing in older runs. */
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
    `${name} is incomplete: ${problem}. Restore it from a backup, or from \`config\` in trainer.json of the newest checkpoint (JSON is YAML).`,
  );
}

function cutOff(text: string, name: string): string | undefined {
  const lines = text.split('\n');
  // Part of a value may be a value as well, such as 10 from 1000. JSON marks its own end.
  if (lines.at(-1) !== '' && !text.endsWith('}')) return `it ends in the middle of line ${lines.length}`;
  const found = Object.keys(parseYaml(text, name).value as object);
  const missing = groups.filter((group) => !found.includes(group));
  return missing.length === 0 ? undefined : `it has no ${missing.map((group) => `${group}:`).join(' ')}`;
}

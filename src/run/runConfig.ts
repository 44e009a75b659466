/** The config of a run: a file or a shipped config, or the `config.yaml` of a run to resume, with the options of the command line. */
import { UserError } from '../base/errors.ts';
import { refuseConflicts } from '../base/overrideConflicts.ts';
import { optionName } from '../base/ownCommand.ts';
import type { Config, ConfigInput } from '../config/configTypes.ts';
import { type LoadedConfig, loadConfig } from '../config/load.ts';
import { readConfigFile } from '../config/locate.ts';
import { parseYaml } from '../config/yamlSource.ts';
import type { RunFolder } from './runFolder.ts';
import type { RunToResume } from './runToResume.ts';

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

export interface RunConfigArguments {
  /** A file, the name of a shipped config, or the config itself. */
  readonly config?: string | ConfigInput | undefined;
  /** Initial weights: `model.from`. */
  readonly initFrom?: string | undefined;
  readonly workers?: number | undefined;
  readonly set?: readonly string[] | undefined;
}

/**
 * The checked config, and the one that a run to resume had before.
 * @param known the run to resume; nothing for a new run
 * @throws UserError if it or an override is wrong, or overrides contradict each other
 */
export function loadRunConfig(
  { config, initFrom, workers, set = [] }: RunConfigArguments,
  known: Pick<RunToResume, 'existing' | 'config'>,
  cwd: string,
): LoadedConfig & { readonly before: Config | undefined } {
  refuseConflicts(set, {
    ...(workers === undefined ? {} : { [`${optionName('workers')} ${workers}`]: `train.workers=${workers}` }),
    ...(initFrom === undefined ? {} : { [`${optionName('init-from')} ${initFrom}`]: `model.from=${initFrom}` }),
  });
  const overrides = [
    ...set,
    ...(workers === undefined ? [] : [`train.workers=${workers}`]),
    // JSON keeps any characters unchanged.
    ...(initFrom === undefined ? [] : [`model.from=${JSON.stringify(initFrom)}`]),
  ];
  const isSet = (key: string) => overrides.some((override) => override.startsWith(`${key}=`));
  const [source1, source2] = ['data.text', 'data.shards', 'data.examples'].filter(isSet);
  if (source2 !== undefined) {
    throw new UserError(`${source1} and ${source2} are both set, but a run trains on one of them: omit the other`);
  }
  const { existing, config: stored } = known;
  if (existing) checkRunConfig(existing, cwd);
  const own = stored ?? (typeof config === 'object' ? config : undefined);
  const source = own === undefined ? { file: existing?.configPath ?? (config as string | undefined) } : { config: own };
  const loaded = loadConfig({ ...source, overrides, cwd });
  const { epochs } = loaded.config.train;
  if (isSet('train.maxSteps') && epochs > 0) {
    throw new UserError(
      `train.epochs: ${epochs} determines the number of steps: omit train.maxSteps, or add train.epochs=0`,
    );
  }
  const isResumed = existing !== undefined || stored !== undefined;
  return { ...loaded, before: isResumed ? loadConfig({ ...source, cwd }).config : undefined };
}

/**
 * Checks that the config of a run to resume is complete: part of a file would also load, with defaults for the missing keys.
 * @throws UserError if the file is empty or was cut off
 */
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

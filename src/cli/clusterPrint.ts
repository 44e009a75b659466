/** `launch cluster --print KIND`: the job script or manifest that starts this run on the nodes of a job. */
import { existsSync } from 'node:fs';
import { posix } from 'node:path';
import type { Options } from 'yargs';
import { UserError } from '../base/errors.ts';
import { ownCommand } from '../base/ownCommand.ts';
import { userPath } from '../base/userPath.ts';
import { renderScript } from '../cluster/scripts/render.ts';
import { imageFolder, jobName, type ScriptKind, scriptKinds } from '../cluster/scripts/scriptOptions.ts';
import { workersOf } from '../run/prepareRun.ts';
import { checkChanges } from '../run/resumedConfig.ts';
import { loadRunConfig, type RunConfigArguments } from '../run/runConfig.ts';
import { RunFolder } from '../run/runFolder.ts';
import { calledDirectly } from './calledAs.ts';
import { numberOption } from './options.ts';
import { warn } from './output.ts';

export const printOptions = {
  print: { choices: scriptKinds, describe: 'Print a job script or manifest with these options instead of running' },
  image: { type: 'string', requiresArg: true, default: 'lockstep', describe: 'Container image (--print)' },
  cpus: { type: 'number', requiresArg: true, describe: 'CPUs per node (--print)' },
  memory: { type: 'string', requiresArg: true, describe: 'Memory per node, such as 16Gi (--print)' },
  storage: { type: 'string', requiresArg: true, default: '10Gi', describe: 'Size of the volume (--print)' },
} as const satisfies Record<string, Options>;

export interface PrintArguments {
  readonly print: ScriptKind;
  readonly nodes?: number | undefined;
  readonly runDir: string;
  readonly image: string;
  readonly cpus?: number | undefined;
  readonly memory?: string | undefined;
  readonly storage: string;
}

/** Kinds whose nodes are containers, which see the volume and not this machine's files. */
const ofContainers: readonly ScriptKind[] = ['jobset', 'job', 'compose'];

/**
 * The text of the file. @param trainWords the options of the run, each one word (`optionWords`). @throws UserError for an option that the
 * kind cannot express
 */
export function scriptOf(args: PrintArguments, trainWords: readonly string[]): string {
  const { print: kind, nodes, image, cpus, memory, storage } = args;
  if (nodes === undefined) throw new UserError('--print: the number of nodes is missing: add --nodes N');
  numberOption('nodes', nodes, { min: 1, max: 4096, whole: true });
  if (cpus !== undefined) numberOption('cpus', cpus, { min: 1, max: 4096, whole: true });
  if (memory !== undefined) checkSize('memory', memory);
  checkSize('storage', storage);
  if (!/^[\w][\w.:/@-]*$/.test(image))
    throw new UserError(`--image: expected the name of an image, received "${image}"`);
  const runDir = ofContainers.includes(kind) ? containerPath(args.runDir) : args.runDir;
  return renderScript(kind, {
    name: jobName(posix.basename(runDir)),
    nodes,
    runDir,
    trainWords,
    program: ofContainers.includes(kind) ? ownCommand() : calledDirectly(),
    image,
    cpus,
    memory,
    storage,
  });
}

/** The options of the run that its config depends on. */
export interface PrintedRun extends RunConfigArguments, Pick<PrintArguments, 'print' | 'runDir' | 'nodes'> {
  readonly config?: string | undefined;
  readonly workers: number;
  readonly minWorkers?: number | undefined;
  readonly resume: 'auto' | 'never';
}

/**
 * Checks the config and its overrides as the run does at its start, on this machine and before anything is submitted. A file that only the volume of
 * containers has is not checked.
 * @throws UserError if the run would refuse them
 */
export function checkConfigToPrint(args: PrintedRun, cwd = process.cwd()): void {
  const { print: kind, config, workers, minWorkers, nodes = 1 } = args;
  const isInContainers = ofContainers.includes(kind);
  const folder = new RunFolder(userPath(cwd, args.runDir));
  const holdsRun = !isInContainers && args.resume === 'auto' && existsSync(folder.configPath);
  if (isInContainers && config !== undefined && isPath(config) && !existsSync(userPath(cwd, config))) {
    warn(`--config ${config}: this machine has no such file, so it is not checked; the volume must have it`);
    return;
  }
  const { config: loaded, before } = holdsRun
    ? loadRunConfig({ ...args, config: undefined, initFrom: undefined }, { existing: folder }, cwd)
    : loadRunConfig(args, {}, cwd);
  if (before) checkChanges(loaded, before, { note: () => {} });
  workersOf(loaded, { minWorkers, startWorkers: workers * nodes });
}

/** Whether a value of `--config` names a file, not a shipped config. */
function isPath(config: string): boolean {
  return /[/\\.]/.test(config);
}

/**
 * Options as words that give the same options when they are parsed again. Those that have their default are left out.
 * @param options as declared, of types string, number, boolean and array of strings
 * @param args parsed
 */
export function optionWords(
  options: Readonly<Record<string, Options>>,
  args: Readonly<Record<string, unknown>>,
): string[] {
  return Object.entries(options).flatMap(([name, { default: usual }]) => {
    const value = args[name];
    if (value === undefined || value === usual) return [];
    if (typeof value === 'boolean') return [`--${value ? '' : 'no-'}${name}`];
    return [value].flat().map((item) => (item === '' ? `--${name}` : `--${name}=${item}`));
  });
}

function checkSize(name: string, size: string): void {
  if (/^[1-9]\d{0,8}[KMGT]i$/.test(size)) return;
  throw new UserError(`--${name}: expected a size such as 16Gi, received "${size}"`);
}

/** Relative to the folder where the volume is. */
function containerPath(runDir: string): string {
  const path = posix.normalize(runDir);
  const relative = posix.isAbsolute(path) ? posix.relative(imageFolder, path) : path;
  if (relative !== '.' && !/^\.\.(\/|$)/.test(relative)) return relative;
  throw new UserError(
    `--run-dir: ${runDir} is not in ${imageFolder}, where containers have their volume: give a relative path such as runs/a`,
  );
}

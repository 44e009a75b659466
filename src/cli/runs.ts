/** `launch runs`: lists, removes and renames runs. */
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, realpath } from 'node:fs/promises';
import { dirname, isAbsolute, join, relative, sep } from 'node:path';
import type { ArgumentsCamelCase, CommandModule, InferredOptionTypes, Options } from 'yargs';
import { nodeDisk } from '../base/diskOperations.ts';
import { UserError } from '../base/errors.ts';
import { grouped } from '../base/numberText.ts';
import { ownCommand } from '../base/ownCommand.ts';
import { fateOfWord, processWord } from '../base/processes.ts';
import { shortPath } from '../base/shortPath.ts';
import { numberColumn, tableHeading, tableRow, textColumn } from '../bench/table.ts';
import { checkpointsIn } from '../run/checkpointsOfRun.ts';
import { existingRunFolder, type RunFolder, runFolders } from '../run/runFolder.ts';
import { type RunSummary, summarise } from '../run/runSummary.ts';
import { print, warn } from './output.ts';
import { bytes } from './progress.ts';

const runsOptions = {
  json: { type: 'boolean', default: false, describe: 'Print one JSON object' },
} as const satisfies Record<string, Options>;

type RunsArguments = InferredOptionTypes<typeof runsOptions> & {
  readonly action: 'list' | 'rm' | 'name';
  readonly runs: readonly string[] | undefined;
};

export const runsCommand: CommandModule<object, RunsArguments> = {
  builder: (yargs) =>
    yargs
      .positional('action', {
        choices: ['list', 'rm', 'name'] as const,
        default: 'list' as const,
        describe: 'list (all runs), rm (remove runs) or name (rename a run)',
      })
      .positional('runs', { type: 'string', array: true, describe: 'Run directories, or names in runs/' })
      .options(runsOptions)
      .example('$0 runs', 'the runs in runs/, newest first')
      .example('$0 runs --json', 'the same as JSON')
      .example('$0 runs name quickstart baseline', 'rename runs/quickstart to runs/baseline')
      .example('$0 runs rm baseline', 'remove runs/baseline and its checkpoints') as never,
  handler: async ({ action, runs = [], json }: ArgumentsCamelCase<RunsArguments>) => {
    const cwd = process.cwd();
    switch (action) {
      case 'list':
        if (runs.length > 0)
          throw new UserError('the list shows all runs in runs/: give no names, or put rm or name before them');
        return await list(cwd, json);
      case 'rm':
        return await remove(runs, cwd);
      case 'name':
        return await name(runs, cwd);
      default:
        return action satisfies never;
    }
  },
};

async function list(cwd: string, json: boolean): Promise<void> {
  const summaries: RunSummary[] = [];
  for (const folder of await runFolders(cwd)) summaries.push(await summarise(folder, cwd));
  if (json) {
    process.stdout.write(`${JSON.stringify({ runs: summaries })}\n`);
    return;
  }
  if (summaries.length === 0) {
    print(`no runs in runs/: train one with ${ownCommand()}`);
    return;
  }
  const rows = summaries.map((run) => [
    run.name,
    run.status,
    `${grouped(run.step)}/${run.maxSteps === undefined ? '?' : grouped(run.maxSteps)}`,
    run.loss?.toFixed(4) ?? '',
    run.best === undefined ? '' : `${run.best.valLoss.toFixed(4)} at ${grouped(run.best.step)}`,
    bytes(run.bytes),
    run.date.slice(0, 16).replace('T', ' '),
  ]);
  const cells = (index: number) => rows.map((row) => row[index] ?? '');
  const width = (index: number) => Math.max(...cells(index).map((cell) => cell.length));
  const columns = [
    textColumn('run', cells(0)),
    textColumn('status', cells(1)),
    numberColumn('steps', width(2)),
    numberColumn('loss', width(3)),
    textColumn('best validation loss', cells(4)),
    numberColumn('size', width(5)),
    textColumn('last step (UTC)', cells(6)),
  ];
  print(tableHeading(columns));
  for (const row of rows) print(tableRow(columns, row));
}

async function remove(names: readonly string[], cwd: string): Promise<void> {
  if (names.length === 0) throw new UserError(`expected the runs to remove, as in ${ownCommand('runs', 'rm', 'NAME')}`);
  const folders = new Map<string, RunFolder>();
  for (const each of names) {
    const folder = await trainedRun(each, cwd, 'removed');
    folders.set(folder.path, folder);
  }
  for (const parent of new Set([join(cwd, 'runs'), ...[...folders.keys()].map(dirname)])) {
    await removeLeftovers(parent, cwd);
  }
  try {
    // Claim all of them before removing the first.
    for (const folder of folders.values()) await claim(folder, 'removed');
    const places = new Map<string, string>();
    for (const { path, checkpointsPath } of folders.values()) {
      const place = await checkpointsIn(path);
      if (place !== undefined && place !== checkpointsPath) places.set(path, place);
    }
    for (const folder of folders.values()) {
      // Hidden first, so that nobody sees a partly removed run.
      const word = randomBytes(4).toString('hex');
      const hidden = join(dirname(folder.path), `.removed-${process.pid}-${processWord()}-${word}`);
      await folder.moveTo(hidden);
      await nodeDisk.removeTree(hidden);
      const remain = places.get(folder.path);
      print(
        `removed ${shortPath(folder.path, cwd)}${remain === undefined ? '' : `; its checkpoints in ${remain} remain`}`,
      );
    }
  } finally {
    for (const folder of folders.values()) await folder.release();
  }
}

/** Removes what an interrupted `rm` left. */
async function removeLeftovers(parent: string, cwd: string): Promise<void> {
  for (const name of await readdir(parent).catch(() => [])) {
    const [, pid, word] = /^\.removed-(\d{1,10})-([0-9a-f]{8})-[0-9a-f]{8}$/.exec(name) ?? [];
    if (pid === undefined || word === undefined || fateOfWord(Number(pid), word) !== 'gone') continue;
    await nodeDisk.removeTree(join(parent, name));
    print(`removed ${shortPath(join(parent, name), cwd)}, which an interrupted rm left`);
  }
}

async function name(names: readonly string[], cwd: string): Promise<void> {
  const [from, to, ...others] = names;
  if (from === undefined || to === undefined || others.length > 0) {
    throw new UserError(
      `expected a run and its new name, as in ${ownCommand('runs', 'name', 'quickstart', 'baseline')}`,
    );
  }
  if (!/^[\p{L}\p{N}_][\p{L}\p{N}_. +=@-]{0,199}$/u.test(to)) {
    throw new UserError(`expected a plain name without slashes, received ${JSON.stringify(to)}`);
  }
  const folder = await trainedRun(from, cwd, 'renamed');
  const target = join(dirname(folder.path), to);
  if (existsSync(target)) throw new UserError(`${shortPath(target, cwd)} already exists: choose another name`);
  await claim(folder, 'renamed');
  await folder.moveTo(target);
  print(`${shortPath(folder.path, cwd)} is now ${shortPath(target, cwd)}`);
}

/** Prevents that a process starts to train in the folder. @throws UserError if one already trains in it */
async function claim(folder: RunFolder, what: string): Promise<void> {
  await folder.claim(warn, `it cannot be ${what} before that ends`);
}

/** A directory that a run has written; a `config.yaml` alone does not prove it. */
async function trainedRun(given: string, cwd: string, what: string): Promise<RunFolder> {
  const isName = !given.includes('/') && existsSync(join(cwd, 'runs', given, 'config.yaml'));
  const folder = await existingRunFolder(isName ? join('runs', given) : given, cwd);
  const shown = shortPath(folder.path, cwd);
  if (!existsSync(folder.journalPath) && !existsSync(folder.metricsPath)) {
    throw new UserError(
      `${shown} is not a run directory: neither journal.jsonl nor metrics.jsonl found. If it is a run that never started, remove it by hand.`,
    );
  }
  const fromIt = relative(await realpath(folder.path), await realpath(cwd));
  if (fromIt !== '..' && !fromIt.startsWith(`..${sep}`) && !isAbsolute(fromIt)) {
    throw new UserError(
      `${shown} contains the working folder: change to another folder, since a run cannot be ${what} from inside`,
    );
  }
  return folder;
}

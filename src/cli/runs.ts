/** `launch runs`: lists the runs in runs/, removes some, gives one another name. */
import { existsSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { ArgumentsCamelCase, CommandModule, InferredOptionTypes, Options } from 'yargs';
import { nodeDisk } from '../base/diskOperations.ts';
import { UserError } from '../base/errors.ts';
import { grouped } from '../base/numberText.ts';
import { ownCommand } from '../base/ownCommand.ts';
import { shortPath } from '../base/shortPath.ts';
import { numberColumn, tableHeading, tableRow, textColumn } from '../bench/table.ts';
import { existingRunFolder, type RunFolder, runFolders } from '../run/runFolder.ts';
import { type RunSummary, summarise } from '../run/runSummary.ts';
import { print } from './output.ts';
import { bytes } from './progress.ts';

const runsOptions = {
  json: { type: 'boolean', default: false, describe: 'One JSON object on standard output' },
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
        describe: 'List them, remove some, or give one another name',
      })
      .positional('runs', { type: 'string', array: true, describe: 'Run directories, or their names in runs/' })
      .options(runsOptions)
      .example('$0 runs', 'the runs in runs/, the newest first')
      .example('$0 runs --json', 'the same for a program')
      .example('$0 runs name quickstart baseline', 'runs/quickstart becomes runs/baseline')
      .example('$0 runs rm baseline', 'removes runs/baseline with its checkpoints') as never,
  handler: async ({ action, runs = [], json }: ArgumentsCamelCase<RunsArguments>) => {
    const cwd = process.cwd();
    switch (action) {
      case 'list':
        if (runs.length > 0)
          throw new UserError('all runs in runs/ are listed: expected no names, or rm or name before them');
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
    print(`there are no runs in runs/: train one with ${ownCommand()}`);
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
  const folders: RunFolder[] = [];
  // All are looked at before the first is gone.
  for (const each of names) folders.push(await idleRun(each, cwd, 'removed'));
  for (const { path } of folders) {
    // Hidden first: a run that is half removed is not seen.
    const hidden = join(dirname(path), `.removed-${process.pid}`);
    await rename(path, hidden);
    await nodeDisk.removeTree(hidden);
    print(`removed ${shortPath(path, cwd)}`);
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
  const { path } = await idleRun(from, cwd, 'named otherwise');
  const target = join(dirname(path), to);
  if (existsSync(target)) throw new UserError(`${shortPath(target, cwd)} is there already: choose another name`);
  await rename(path, target);
  print(`${shortPath(path, cwd)} is now ${shortPath(target, cwd)}`);
}

/** A run that no process trains in. */
async function idleRun(given: string, cwd: string, what: string): Promise<RunFolder> {
  const isName = !given.includes('/') && existsSync(join(cwd, 'runs', given, 'config.yaml'));
  const folder = await existingRunFolder(isName ? join('runs', given) : given, cwd);
  if (!(await folder.isInUse())) return folder;
  throw new UserError(`a process is training in ${shortPath(folder.path, cwd)}: it cannot be ${what} before it ends`);
}

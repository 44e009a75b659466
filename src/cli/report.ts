/** `launch report`: one HTML page about a run, which needs no network. */
import { join } from 'node:path';
import type { ArgumentsCamelCase, CommandModule, InferredOptionTypes, Options } from 'yargs';
import { expandHome } from '../base/userPath.ts';
import { readRun } from '../records/runRecord.ts';
import { type Facts, writeRunReport } from '../report/runReport.ts';
import { runsHint } from '../run/runFolder.ts';
import { machineFacts } from './machineFacts.ts';
import { print, warn } from './output.ts';
import { bytes } from './progress.ts';

const reportOptions = {
  out: { type: 'string', requiresArg: true, describe: 'Output file [default: report.html in the run directory]' },
} as const satisfies Record<string, Options>;

type ReportArguments = InferredOptionTypes<typeof reportOptions> & { readonly run: string };

export const reportCommand: CommandModule<object, ReportArguments> = {
  builder: (yargs) =>
    yargs
      .positional('run', { type: 'string', demandOption: true, describe: 'Run directory' })
      .options(reportOptions)
      .example('$0 report runs/quickstart', 'runs/quickstart/report.html')
      .example('$0 report runs/quickstart --out page.html', 'write to another file') as never,
  handler: report,
};

async function report({ run, ...args }: ArgumentsCamelCase<ReportArguments>): Promise<void> {
  const out = expandHome(args.out ?? join(run, 'report.html'));
  const record = await readRun(run, (path) => runsHint(path, process.cwd()));
  if (record.badLines > 0) warn(`${run}: ${record.badLines} unreadable lines in its logs were skipped`);
  await writeRunReport(out, record, await machine());
  print(out);
}

async function machine(): Promise<Facts> {
  const { platform, cpu, cores, isa, memoryBytes, versions } = await machineFacts();
  return [
    ['processor', `${cpu}, ${cores} cores`],
    ['instruction sets', isa.join(', ')],
    ['memory', bytes(memoryBytes)],
    ['system', platform],
    [
      'versions',
      Object.entries(versions)
        .map(([name, version]) => `${name} ${version}`)
        .join(', '),
    ],
  ];
}

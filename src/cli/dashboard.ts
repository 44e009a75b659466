/** `launch dashboard` and `launch --dashboard`: a page with live curves of runs. */
import { existsSync } from 'node:fs';
import type { ArgumentsCamelCase, CommandModule, InferredOptionTypes, Options } from 'yargs';
import { interruptedExitCode, UserError } from '../base/errors.ts';
import { shortPath } from '../base/shortPath.ts';
import { userPath } from '../base/userPath.ts';
import { Dashboard } from '../dashboard/server.ts';
import { existingRunFolder, RunFolder, runsHint } from '../run/runFolder.ts';
import { isLoopback } from '../web/listen.ts';
import { onEndRequest } from './endRequests.ts';
import { dashboardHost, portOption } from './options.ts';
import { print, warn } from './output.ts';
import { goOnWithoutPrinting } from './outputFailures.ts';

/** The default port, if it is free. */
const usualPort = 3141;

const dashboardOptions = {
  port: {
    type: 'string',
    requiresArg: true,
    describe: `Port to listen on; 0: any free one [default: ${usualPort}, or any free one]`,
  },
  ...dashboardHost,
} as const satisfies Record<string, Options>;

type DashboardArguments = InferredOptionTypes<typeof dashboardOptions> & { readonly rundirs: string[] | undefined };

export const dashboardCommand: CommandModule<object, DashboardArguments> = {
  builder: (yargs) =>
    yargs
      .positional('rundirs', {
        type: 'string',
        array: true,
        describe: 'Run directories [default: the newest in runs/]',
      })
      .options(dashboardOptions)
      .example('$0 dashboard', 'the newest run')
      .example('$0 dashboard runs/a runs/b --port 8080', 'compare two runs'),
  handler: run,
};

async function run(args: ArgumentsCamelCase<DashboardArguments>): Promise<void> {
  goOnWithoutPrinting();
  const cwd = process.cwd();
  const runDirs = await runDirsOf(args.rundirs ?? [], cwd);
  const dashboard = await openDashboard(runDirs, args.port ?? '', args.dashboardHost);
  print(
    `dashboard ${shownUrls(dashboard)} (Ctrl-C to stop): ${runDirs.map((runDir) => shortPath(runDir, cwd)).join(', ')}`,
  );
  await new Promise<void>((end) => {
    const ignoreRequests = onEndRequest(() => {
      ignoreRequests();
      end();
    });
  });
  await dashboard.close();
  process.exitCode = interruptedExitCode;
}

async function runDirsOf(given: readonly string[], cwd: string): Promise<string[]> {
  if (given.length === 0) return [(await existingRunFolder(undefined, cwd)).path];
  return await Promise.all(
    given.map(async (runDir) => {
      const folder = new RunFolder(userPath(cwd, runDir));
      if (existsSync(folder.configPath)) return folder.path;
      throw new UserError(
        `${shortPath(folder.path, cwd)} is not a run directory: config.yaml not found${await runsHint(folder.path, cwd)}`,
      );
    }),
  );
}

/** The addresses to open, for the user. */
export function shownUrls({ url, urlElsewhere }: Pick<Dashboard, 'url' | 'urlElsewhere'>): string {
  return urlElsewhere === undefined ? url : `${url} or, from another machine, ${urlElsewhere}`;
}

/** @param port as typed; empty: the default port, or any if that is in use */
export async function openDashboard(runDirs: readonly string[], port: string, host: string): Promise<Dashboard> {
  const options = { runDirs, host, onWarning: warn };
  if (!isLoopback(host)) warn(`the dashboard on ${host} is unencrypted and visible to anyone with its token`);
  const number = portOption(port);
  if (number !== undefined) return Dashboard.open({ ...options, port: number });
  return Dashboard.open({ ...options, port: usualPort }).catch((error: unknown) => {
    if (error instanceof UserError) return Dashboard.open({ ...options, port: 0 });
    throw error;
  });
}

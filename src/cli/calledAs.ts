/** How this program was called, so that a user can copy commands from its messages. */
import { basename, delimiter, dirname, join, resolve, sep } from 'node:path';
import { packageRoot } from '../base/packageRoot.ts';
import { shellWord } from '../base/shellWord.ts';
import { shortPath } from '../base/shortPath.ts';

/** How a process was started. */
export interface ProcessStart {
  /** Absolute path of the program as given to Node, with symbolic links unresolved. */
  readonly script: string;
  /** Options for Node itself. */
  readonly nodeOptions: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** This process. */
export function thisStart(): ProcessStart {
  return { script: process.argv[1] ?? '', nodeOptions: process.execArgv, cwd: process.cwd(), env: process.env };
}

/** The name of the command, for the beginning of error messages: `launch`, or `lockstep`, which is the same program. */
export function programName({ script, env }: ProcessStart = thisStart()): string {
  return namedByNpx(env) ?? namedBy(script) ?? 'launch';
}

/** What a person types to start this program again: `npx launch`, `launch`, `node dist/cli/main.js`; quoted for a shell. */
export function calledAs({ script, nodeOptions, cwd, env }: ProcessStart = thisStart()): string {
  const byNpx = namedByNpx(env);
  if (byNpx !== undefined) return `npx ${byNpx}`;
  const name = namedBy(script);
  const folder = dirname(script);
  // Scripts of package.json have this folder in their PATH; a shell does not.
  if (name !== undefined && folder.endsWith(`${sep}node_modules${sep}.bin`)) return `npx ${name}`;
  const isFound = (env['PATH'] ?? '').split(delimiter).some((place) => place !== '' && resolve(cwd, place) === folder);
  if (name !== undefined && isFound) return name;
  return ['node', ...nodeOptions, shortPath(script, cwd)].map(shellWord).join(' ');
}

/**
 * A command that starts this program without npx, which a scheduler must not start: npm keeps its signals to itself.
 * @returns the same as `calledAs`, or the path of the program
 */
export function calledDirectly(start: ProcessStart = thisStart()): string {
  const called = calledAs(start);
  if (!called.startsWith('npx ')) return called;
  const { script, cwd } = start;
  // For a package's own command npx makes a link in its cache, which other nodes lack and npm may clear.
  if (script.includes(`${sep}_npx${sep}`)) {
    return ['node', shortPath(join(packageRoot, 'dist', 'cli', 'main.js'), cwd)].map(shellWord).join(' ');
  }
  return shellWord(shortPath(script, cwd));
}

function namedBy(script: string): string | undefined {
  const name = basename(script);
  return name === 'launch' || name === 'lockstep' ? name : undefined;
}

/** npm stores the command of `npx` or `npm exec` in this variable; on Windows it starts the program by its file. */
function namedByNpx(env: ProcessStart['env']): string | undefined {
  if (env['npm_command'] !== 'exec') return undefined;
  return /^"?'?(launch|lockstep)'?"?(\s|$)/.exec(env['npm_lifecycle_script'] ?? '')?.[1];
}

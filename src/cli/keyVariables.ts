/** The keys in the environment of this process. Processes that it starts inherit neither: workers receive what they need over their IPC. */
import { joinKeyVariable } from '../comm/runKeys.ts';
import { runKeyVariable } from '../run/runKeyFiles.ts';

interface KeyTexts {
  /** Contents of a `run.key`; undefined if there is none. */
  readonly run: string | undefined;
  /** Contents of a `join.key`; undefined if there is none. */
  readonly join: string | undefined;
}

let taken: KeyTexts | undefined;

/** Takes both out of the environment; the same again when called again. */
export function keysInEnvironment(): KeyTexts {
  taken ??= { run: take(runKeyVariable), join: take(joinKeyVariable) };
  return taken;
}

function take(variable: string): string | undefined {
  const text = process.env[variable];
  delete process.env[variable];
  return text;
}

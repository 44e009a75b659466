/**
 * The signals by which people and systems ask a command to end: Ctrl-C, `kill`, a terminal that closes, `docker stop`, a batch system
 * whose time is up. A command that has something to lose listens to all of them here.
 */
import { readFileSync } from 'node:fs';
import { isatty } from 'node:tty';

/** SIGUSR1 and SIGUSR2 announce the end of a job (Slurm's `--signal`), SIGXCPU the end of its processor time, SIGPWR of the power. */
const endSignals = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGXCPU', 'SIGPWR'] as const;
const usr1Number = 10;

/** Node takes away that `nohup` has ignored SIGHUP. Whoever started this without any terminal does not end it by closing one. */
const isHangUpMeant = [0, 1, 2].some((descriptor) => isatty(descriptor));
/** npm hands no signal on to the command that it runs (`npx launch`, a script of package.json): when it is ended, its command is to end. */
const isStartedByNpm = /^'?(launch|lockstep)'?(\s|$)/.test(process.env['npm_lifecycle_script'] ?? '');
const startedBy = ancestors();
const ancestorsIntervalMs = 500;

/** A reason to end: a signal, or what stands for one. */
export type EndCause = NodeJS.Signals | 'the end of npm';

/** Only a person presses Ctrl-C again, or kills again: all other signals may come twice for one reason. */
export function isInsistent(cause: EndCause): boolean {
  return cause === 'SIGINT' || cause === 'SIGTERM';
}

/** Told each time the process is asked to end. @returns what ends the listening */
export function onEndSignal(listener: (cause: EndCause) => void): () => void {
  const heard = (signal: NodeJS.Signals): void => {
    if (signal !== 'SIGHUP' || isHangUpMeant) listener(signal);
  };
  for (const signal of endSignals) listen(signal, heard);
  const watch = isStartedByNpm ? setInterval(checkAncestors, ancestorsIntervalMs).unref() : undefined;
  function checkAncestors(): void {
    if (ancestors() === startedBy) return;
    clearInterval(watch);
    listener('the end of npm');
  }
  return () => {
    clearInterval(watch);
    for (const signal of endSignals) process.off(signal, heard);
  };
}

/**
 * What signals do to a command that does not listen: SIGHUP nothing where no terminal can have closed, and SIGUSR1 ends it as any other
 * program, instead of opening Node's debugger.
 */
export function tameSignals(): void {
  if (!isHangUpMeant) process.on('SIGHUP', () => {});
  process.on('SIGUSR1', () => {
    if (process.listenerCount('SIGUSR1') === 1) process.exit(128 + usr1Number);
  });
}

/** A system may not have the signal. */
function listen(signal: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void): void {
  try {
    process.on(signal, listener);
  } catch {
    // Then nobody sends it.
  }
}

/** The shell between npm and this process, and npm itself where the system tells: a new one where either has ended. */
function ancestors(): string {
  const parent = process.ppid;
  try {
    // pid (name) state ppid …
    const [, grandparent] = readFileSync(`/proc/${parent}/stat`, 'utf8').split(') ').at(-1)!.split(' ');
    return `${parent} ${grandparent}`;
  } catch {
    return String(parent);
  }
}

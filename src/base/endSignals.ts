/**
 * The signals by which people and systems ask a process to end: Ctrl-C, `kill`, a closing terminal, `docker stop`, the time limit of a
 * batch system. SIGUSR1 and SIGUSR2 announce the end of a job (Slurm's `--signal`), SIGXCPU the end of its processor time, SIGPWR
 * a power failure.
 */
export const endSignals = [
  'SIGINT',
  'SIGTERM',
  'SIGHUP',
  'SIGQUIT',
  'SIGUSR1',
  'SIGUSR2',
  'SIGXCPU',
  'SIGPWR',
] as const satisfies readonly NodeJS.Signals[];

/** Calls `listener` on each of the signals that this system supports. @returns a function that stops this */
export function onSignals(signals: readonly NodeJS.Signals[], listener: (signal: NodeJS.Signals) => void): () => void {
  const heard: NodeJS.Signals[] = [];
  for (const signal of signals) {
    try {
      process.on(signal, listener);
      heard.push(signal);
    } catch {
      // A system without the signal does not send it.
    }
  }
  return () => {
    for (const signal of heard) process.off(signal, listener);
  };
}

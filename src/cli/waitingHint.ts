/** What a run that listens says about the workers that it waits for, and how to add them. */
import { ownCommand } from '../base/ownCommand.ts';
import { shortPath } from '../base/shortPath.ts';
import { joinAddresses } from '../comm/linkAddress.ts';
import type { RunListener } from '../coordinator/coordinatorOptions.ts';
import type { RunState } from '../coordinator/core/runState.ts';
import type { LoggedEvent } from '../records/eventsLog.ts';
import type { StartedRun } from '../run/runObserver.ts';

/** Prints a line when a run has too few workers left. Says nothing until `join` is set. */
export class WaitingHint implements Partial<RunListener> {
  /** The command that adds workers. */
  join: string | undefined;
  readonly #state: () => RunState | undefined;
  readonly #print: (line: string) => void;
  #told = 0;

  constructor(state: () => RunState | undefined, print: (line: string) => void) {
    this.#state = state;
    this.#print = print;
  }

  event({ event }: LoggedEvent): void {
    const awaited = awaitedWorkers(this.#state());
    const isLess = event === 'leave' || event === 'lost';
    // Workers that are lost together have an event each.
    if (isLess && awaited > this.#told && this.join !== undefined) this.#print(waitingText(awaited, this.join));
    this.#told = awaited;
  }
}

/** What adds workers from this machine or another. */
export function joinCommand(
  { joinKeyPath }: { readonly joinKeyPath: string },
  { address, advertise, isEncrypted }: Pick<StartedRun, 'address' | 'advertise' | 'isEncrypted'>,
): string {
  const [first = address] = joinAddresses(address, advertise);
  return ownCommand('join', first, ...(isEncrypted ? ['--key', shortPath(joinKeyPath)] : []));
}

export function waitingText(workers: number, join: string): string {
  return `waiting for ${workers} more: ${join}`;
}

/** Number of workers that somebody else has to start before the run continues. */
export function awaitedWorkers(state: RunState | undefined): number {
  if (state?.stage !== 'gathering' || state.stopRequested) return 0;
  const { plan, needed, starting, joiners, missing, restarts } = state;
  const staying = joiners.filter(({ leaving }) => !leaving);
  // A local worker that is silent is started again as long as restarts are left.
  const restarting =
    restarts < plan.restartsMax ? missing.filter(({ worker }) => plan.localWorkers.includes(worker)) : [];
  return Math.max(0, needed - starting.length - staying.length - restarting.length);
}

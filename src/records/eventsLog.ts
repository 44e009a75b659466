/**
 * `events.jsonl` of a run directory: what happened to a run and why, one JSON object a line, over all its coordinators. For
 * people and for tools that look at a run; the run itself never reads it (that is journal.ts).
 */
import { type Clock, systemClock } from '../base/clock.ts';
import { messageOf, PeerError } from '../base/errors.ts';
import type { WorkerPhase } from '../comm/messageFields.ts';
import { cutTornLine, LineLog } from './lineLog.ts';

/** What is said of every event. */
export interface EventFacts {
  /** Why, in words: what was expected, what came. */
  readonly reason: string;
  /** Of the membership at that moment; 0 before the first. */
  readonly term: number;
  /** Updates committed by then. */
  readonly step: number;
  /** Of the worker that it is about, if it was in the ring. */
  readonly rank?: number | undefined;
  /** Its id. */
  readonly worker?: string | undefined;
  /** What the worker was doing. */
  readonly phase?: WorkerPhase | undefined;
  /** What is thought to lie behind it: `killed by SIGKILL`, `silent for 10.0 s`. */
  readonly cause?: string | undefined;
  /** What the coordinator does about it. */
  readonly action?: string | undefined;
  /** The event before has said this as its action: of the membership that follows a loss. */
  readonly isTold?: true | undefined;
}

/**
 * What can happen to one worker: it joins; it leaves as it was asked or said; it is lost; it is started again; it says
 * something of a membership that is over, and is told to go (fenced); it wants to join and may not (refused).
 */
export interface WorkerEvent extends EventFacts {
  /** What happened to it. */
  readonly event: 'join' | 'leave' | 'lost' | 'restart' | 'fenced' | 'refused';
  readonly worker: string;
}

/**
 * What can happen to the run: it begins with other weights than random ones (initialised); a membership is formed; it goes back to a checkpoint; there is something to warn of; it is asked to stop;
 * it fails or finishes; another coordinator goes on with it (resumed).
 */
export interface RunWideEvent extends EventFacts {
  /** What happened to it. */
  readonly event: 'initialised' | 'term' | 'rewind' | 'warning' | 'stopping' | 'failed' | 'finished' | 'resumed';
}

/** A line of events.jsonl, without its time. */
export type LoggedEvent = WorkerEvent | RunWideEvent;

/** A reason may quote what a stranger sent. */
const textLengthMax = 4_096;

export class EventsLog {
  readonly #log: LineLog;
  readonly #clock: Clock;

  private constructor(log: LineLog, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
  }

  /** Goes on with the log, or begins it. @throws PeerError if it cannot be written */
  static async open(path: string, onWarning: (message: string) => void, clock = systemClock): Promise<EventsLog> {
    try {
      await cutTornLine(path);
    } catch (error) {
      throw new PeerError(`cannot open ${path}: ${messageOf(error)}`);
    }
    return new EventsLog(new LineLog(path, 'events', onWarning), clock);
  }

  /** Queues a line, with the time. A disk that refuses it is reported once; the run goes on. */
  append({ event, reason, term, step, rank, worker, phase, cause, action, isTold }: LoggedEvent): void {
    const time = new Date(this.#clock.now()).toISOString();
    const facts = { event, reason: clipped(reason), term, step, rank, worker: clipped(worker), phase };
    this.#log.append({ time, ...facts, cause: clipped(cause), action: clipped(action), isTold });
  }

  /** Resolves when every line is written. */
  flush(): Promise<void> {
    return this.#log.flush();
  }
}

function clipped(text: string | undefined): string | undefined {
  return text === undefined || text.length <= textLengthMax ? text : `${text.slice(0, textLengthMax)}…`;
}

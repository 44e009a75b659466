/**
 * `events.jsonl` of a run directory: what happened to a run and why, one JSON object per line, over all its coordinators. For
 * people and for tools that look at a run; the run itself never reads it (that is journal.ts).
 */
import { type Clock, systemClock } from '../base/clock.ts';
import { messageOf, PeerError } from '../base/errors.ts';
import type { WorkerPhase } from '../comm/messageFields.ts';
import { cutTornLine, LineLog } from './lineLog.ts';

/** The fields of every event. */
export interface EventFacts {
  /** The reason as text: what was expected and what happened. */
  readonly reason: string;
  /** Term of the current membership; 0 before the first. */
  readonly term: number;
  /** Number of updates committed so far. */
  readonly step: number;
  /** Rank of the worker concerned, if it was in the ring. */
  readonly rank?: number | undefined;
  /** Id of the worker. */
  readonly worker?: string | undefined;
  /** What the worker was doing. */
  readonly phase?: WorkerPhase | undefined;
  /** The likely cause: `killed by SIGKILL`, `silent for 10.0 s`. */
  readonly cause?: string | undefined;
  /** What the coordinator does. */
  readonly action?: string | undefined;
  /** Set for the membership after a loss, which the event before already announced as its action. */
  readonly isTold?: true | undefined;
}

/**
 * Events of one worker. It joins, leaves on request, is lost, or is restarted. It is fenced when it sends a message of an old membership,
 * and refused when it is not allowed to join.
 */
export interface WorkerEvent extends EventFacts {
  /** The kind of event. */
  readonly event: 'join' | 'leave' | 'lost' | 'restart' | 'fenced' | 'refused';
  readonly worker: string;
}

/**
 * Events of the run. It starts from existing weights (initialised), forms a membership (term), has written the samples of an iteration
 * (rollouts), goes back to a checkpoint (rewind), skips a step whose gradient is too large for float16 (skipped), reports a warning, is asked to stop (stopping), fails, finishes, or is continued by another coordinator (resumed).
 */
export interface RunWideEvent extends EventFacts {
  /** The kind of event. */
  readonly event:
    | 'initialised'
    | 'term'
    | 'rollouts'
    | 'rewind'
    | 'skipped'
    | 'warning'
    | 'stopping'
    | 'failed'
    | 'finished'
    | 'resumed';
}

/** A line of events.jsonl, without its time. */
export type LoggedEvent = WorkerEvent | RunWideEvent;

/** A reason may quote text from an unknown sender. */
const textLengthMax = 4_096;

export class EventsLog {
  readonly #log: LineLog;
  readonly #clock: Clock;

  private constructor(log: LineLog, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
  }

  /** Opens the log to append, or creates it. @throws PeerError if it cannot be written */
  static async open(path: string, onWarning: (message: string) => void, clock = systemClock): Promise<EventsLog> {
    try {
      await cutTornLine(path);
    } catch (error) {
      throw new PeerError(`cannot open ${path}: ${messageOf(error)}`);
    }
    return new EventsLog(new LineLog(path, 'events', onWarning), clock);
  }

  /** Queues a line, with the time. A write error is reported once, and the run continues. */
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

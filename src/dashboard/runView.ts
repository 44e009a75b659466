/** What the dashboard knows of a run, from the files in its directory: curves, the newest steps, events, samples, the config. */
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { parse } from 'yaml';
import { errorCode, messageOf, PeerError } from '../base/errors.ts';
import { isLocked } from '../base/lockFile.ts';
import { withoutRepeats } from '../records/eventText.ts';
import { RecentSpeed } from '../records/recentSpeed.ts';
import {
  type EventLine,
  parseLine,
  rankRowsOf,
  type SampleLine,
  type StepLine,
  type ValidationLine,
} from '../records/runLines.ts';
import type { RunUpdate } from './runUpdate.ts';
import { Series } from './series.ts';
import { TailFile } from './tailFile.ts';

/** Events, samples and evaluations that are kept. */
const eventsMax = 500;
const samplesMax = 50;
const validationsMax = 5_000;

/** What a viewer has of a run already. */
export interface Seen {
  /** The last step that it has a point of, but the one that may still change. */
  readonly step: number;
  readonly stride: number;
  readonly restarts: number;
  /** {@link RunView.version} */
  readonly version: number;
  /** How many lines of each kind had come. */
  readonly lines: Readonly<Record<ListKind, number>>;
}

type ListKind = 'validation' | 'event' | 'sample';

export class RunView {
  readonly path: string;
  readonly name: string;
  readonly #files: readonly TailFile[];
  #series = new Series();
  #validations: ValidationLine[] = [];
  #best: ValidationLine | undefined;
  #newest: StepLine | undefined;
  #speeds = { tokensPerSecond: new RecentSpeed(), mfu: new RecentSpeed() };
  #tokensPerSecond: number | undefined;
  #mfu: number | undefined;
  #events: EventLine[] = [];
  #samples: SampleLine[] = [];
  #restarts = 0;
  readonly #lines: Record<ListKind, number> = { validation: 0, event: 0, sample: 0 };
  #configText = '';
  #maxSteps: number | undefined;
  #isRunning = false;
  /** Grows with everything that changes. */
  version = 0;

  constructor(path: string) {
    this.path = path;
    this.name = basename(path);
    this.#files = [
      new TailFile(join(path, 'metrics.jsonl'), { line: (text) => this.#line(text), restarted: () => this.#restart() }),
      new TailFile(join(path, 'events.jsonl'), {
        line: (text) => this.#line(text),
        restarted: () => {
          this.#events = [];
          this.#lines.event++;
        },
      }),
      new TailFile(join(path, 'samples.jsonl'), {
        line: (text) => this.#line(text),
        restarted: () => {
          this.#samples = [];
          this.#lines.sample++;
        },
      }),
    ];
  }

  /** Reads what is new in the directory. @throws PeerError with the path of a file that cannot be read */
  async refresh(): Promise<void> {
    for (const file of this.#files) await file.read();
    const configPath = join(this.path, 'config.yaml');
    const text = await readFile(configPath, 'utf8').catch((error: unknown) => {
      if (errorCode(error) === 'ENOENT') return '';
      throw new PeerError(`cannot read ${configPath}: ${messageOf(error)}`, { cause: error });
    });
    if (text !== this.#configText) {
      this.#configText = text;
      this.#maxSteps = maxStepsOf(text);
      this.version++;
    }
    const isRunning = await isLocked(join(this.path, 'run.lock'));
    if (isRunning !== this.#isRunning) this.version++;
    this.#isRunning = isRunning;
  }

  /** The resolved config, as YAML. */
  get config(): string {
    return this.#configText;
  }

  get newestStep(): StepLine | undefined {
    return this.#newest;
  }

  get newestValidation(): ValidationLine | undefined {
    return this.#validations.at(-1);
  }

  get events(): readonly EventLine[] {
    return this.#events;
  }

  get isRunning(): boolean {
    return this.#isRunning;
  }

  /** Everything, or what is new for a viewer. */
  update(seen: Seen | undefined): { update: RunUpdate; seen: Seen } {
    const { stride } = this.#series;
    const reset = seen === undefined || seen.stride !== stride || seen.restarts !== this.#restarts;
    const after = reset ? 0 : seen.step;
    const points = this.#series.after(after);
    const isNew = (kind: ListKind) => reset || seen.lines[kind] !== this.#lines[kind];
    const update: RunUpdate = {
      name: this.name,
      reset,
      points,
      after,
      newest: this.newestStep,
      tokensPerSecond: this.#tokensPerSecond,
      mfu: this.#mfu,
      best: this.#best,
      maxSteps: this.#maxSteps,
      isRunning: this.#isRunning,
      ...(isNew('validation') && { validations: this.#validations }),
      ...(isNew('event') && { events: withoutRepeats(this.#events) }),
      ...(isNew('sample') && { samples: this.#samples }),
    };
    // The last point is sent again: steps may still be added to it.
    const step = points.at(-2)?.step ?? after;
    return {
      update,
      seen: { step, stride, restarts: this.#restarts, version: this.version, lines: { ...this.#lines } },
    };
  }

  #restart(): void {
    this.#series = new Series();
    this.#validations = [];
    this.#best = undefined;
    this.#newest = undefined;
    this.#speeds = { tokensPerSecond: new RecentSpeed(), mfu: new RecentSpeed() };
    this.#restarts++;
  }

  #line(text: string): void {
    const parsed = parseLine(text);
    if (parsed === undefined) return;
    this.version++;
    if (parsed.kind === 'step') {
      this.#step(parsed.line);
      return;
    }
    this.#lines[parsed.kind]++;
    if (parsed.kind === 'validation') this.#validation(parsed.line);
    else if (parsed.kind === 'event') keep(this.#events, parsed.line, eventsMax);
    else keep(this.#samples, parsed.line, samplesMax);
  }

  #validation(line: ValidationLine): void {
    keep(this.#validations, line, validationsMax);
    if (line.valLoss < (this.#best?.valLoss ?? Number.POSITIVE_INFINITY)) this.#best = line;
  }

  #step(line: StepLine): void {
    const { step, loss, lr, gradNorm } = line;
    const tokensPerSecond = this.#speeds.tokensPerSecond.add(line.tokensPerSecond);
    const mfu = this.#speeds.mfu.add(line.mfu);
    const ringBytesPerSecond = ringRate(line);
    // A run that learns from given samples has neither.
    const { reward = Number.NaN, rolloutKl = Number.NaN } = line.means ?? {};
    this.#series.add({ step, loss, lr, gradNorm, tokensPerSecond, mfu, ringBytesPerSecond, reward, rolloutKl });
    if (line.tokensPerSecond !== undefined) this.#tokensPerSecond = tokensPerSecond;
    if (line.mfu !== undefined) this.#mfu = mfu;
    this.#newest = line;
  }
}

/** Bytes that each rank, or the median one, sent, over the time of its step: how much of the wire is used. */
function ringRate(line: StepLine): number {
  let bytes = 0;
  let ms = 0;
  const rows = rankRowsOf(line).filter(({ rank }) => rank !== 'slowest');
  for (const rank of rows) {
    bytes += rank.ringBytesSent ?? 0;
    ms += (rank.dataWaitMs ?? 0) + (rank.forwardBackwardMs ?? 0) + (rank.ringWaitMs ?? 0);
    ms += (rank.commitWaitMs ?? 0) + (rank.optimizerMs ?? 0);
  }
  return ms === 0 ? 0 : (bytes / ms) * 1_000;
}

function keep<T>(list: T[], item: T, most: number): void {
  list.push(item);
  if (list.length > most) list.splice(0, list.length - most);
}

function maxStepsOf(yaml: string): number | undefined {
  try {
    const value: unknown = parse(yaml)?.train?.maxSteps;
    return typeof value === 'number' ? value : undefined;
  } catch {
    // Whatever it is, it is shown as it is.
    return undefined;
  }
}

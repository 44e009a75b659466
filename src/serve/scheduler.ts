/**
 * Decides when each text is continued: a limited number at once, in one batch that they join and leave between two tokens. The others
 * wait in order of arrival, and their number is limited.
 */
import { setImmediate } from 'node:timers/promises';
import type { LoadedModel } from '../run/loadModel.ts';
import { TextBatch, type TextPiece, type TextRequest } from '../run/textBatch.ts';

export interface SchedulerOptions {
  /** Texts that are continued at once; each has a cache of keys and values. */
  readonly batchMax: number;
  /** Texts that wait besides. */
  readonly queueMax: number;
}

/** A text and who waits for it. */
export interface ScheduledText {
  readonly request: TextRequest;
  /** Called with each piece, the last of which has `finish`. */
  readonly onPiece: (piece: TextPiece<ScheduledText>) => void;
  /** Called instead of a last piece where the model failed. */
  readonly onError: (error: unknown) => void;
}

export class Scheduler {
  readonly #options: SchedulerOptions;
  readonly #batch: TextBatch<ScheduledText>;
  readonly #waiting = new Set<ScheduledText>();
  readonly #running = new Set<ScheduledText>();
  #loop: Promise<void> | undefined;
  /** Time of a text, from its first step to its last. */
  #meanSeconds = 1;

  constructor(loaded: Pick<LoadedModel, 'engine' | 'model' | 'tokenizer'>, options: SchedulerOptions) {
    this.#options = options;
    this.#batch = new TextBatch(loaded);
  }

  /** Texts that are continued now. */
  get running(): number {
    return this.#running.size;
  }

  /** Texts that wait. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** Takes all of the texts, or none where the queue has no room for them. */
  submit(texts: readonly ScheduledText[]): boolean {
    const { batchMax, queueMax } = this.#options;
    if (this.running + this.waiting + texts.length > batchMax + queueMax) return false;
    for (const text of texts) this.#waiting.add(text);
    this.#loop ??= this.#run().finally(() => {
      this.#loop = undefined;
    });
    return true;
  }

  /** When there may be room again, in seconds. */
  get retryAfterSeconds(): number {
    return Math.max(1, Math.ceil((this.waiting / this.#options.batchMax) * this.#meanSeconds));
  }

  /** Ends a text; nothing is told of it any more. */
  cancel(text: ScheduledText): void {
    this.#waiting.delete(text);
    if (this.#running.delete(text)) this.#batch.remove(text);
  }

  /** Resolves when every text has ended. */
  async idle(): Promise<void> {
    await this.#loop;
  }

  async #run(): Promise<void> {
    // Those that come together begin together.
    await setImmediate();
    const startedMs = new Map<ScheduledText, number>();
    while (this.#waiting.size + this.#running.size > 0) {
      for (const text of this.#waiting) {
        if (this.#running.size >= this.#options.batchMax) break;
        this.#waiting.delete(text);
        this.#running.add(text);
        startedMs.set(text, performance.now());
        try {
          this.#batch.add(text, text.request);
        } catch (error) {
          this.#fail(text, error);
        }
      }
      await this.#step((text) => {
        const seconds = (performance.now() - startedMs.get(text)!) / 1000;
        this.#meanSeconds += (seconds - this.#meanSeconds) / 8;
      });
      for (const text of startedMs.keys()) if (!this.#running.has(text)) startedMs.delete(text);
      // On a CPU a token is computed before its promise is looked at: requests get their turn here.
      await setImmediate();
    }
  }

  async #step(onFinish: (text: ScheduledText) => void): Promise<void> {
    let pieces: TextPiece<ScheduledText>[];
    try {
      pieces = await this.#batch.step();
    } catch (error) {
      const failed = [...this.#running];
      this.#running.clear();
      this.#batch.release();
      for (const text of failed) text.onError(error);
      return;
    }
    for (const piece of pieces) {
      // A piece before this one may have made its owner cancel others.
      if (!this.#running.has(piece.of)) continue;
      if (piece.finish !== undefined) {
        onFinish(piece.of);
        this.#running.delete(piece.of);
      }
      try {
        piece.of.onPiece(piece);
      } catch (error) {
        this.#fail(piece.of, error);
      }
    }
  }

  /** A failure of this text alone: the others continue. */
  #fail(text: ScheduledText, error: unknown): void {
    this.cancel(text);
    text.onError(error);
  }
}

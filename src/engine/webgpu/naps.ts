/**
 * Waits that leave the processor to a software driver. While a promise of Dawn is pending, the npm package `webgpu` asks the driver in
 * every turn of the event loop, so the thread that waits keeps a core from the threads that compute. Here it sleeps between turns.
 */

/** Most answers come at once, and are not delayed. */
const AWAKE_MS = 1;
/** How long a nap delays an answer, and everything else on this thread. */
const NAP_MS = 1;

const never = new Int32Array(new SharedArrayBuffer(4));

/** What the naps need of the platform; tests replace it. */
export interface NapClock {
  now(): number;
  /** Blocks the thread. */
  sleep(ms: number): void;
  /** Calls back in the next turn of the event loop. */
  nextTurn(callback: () => void): void;
}

const clock: NapClock = {
  now: () => performance.now(),
  sleep: (ms) => void Atomics.wait(never, 0, 0, ms),
  nextTurn: (callback) => void setImmediate(callback),
};

export class Naps {
  readonly #isWaiting: () => boolean;
  readonly #clock: NapClock;
  #isOn = false;

  /** @param isWaiting whether a promise of Dawn is pending */
  constructor(isWaiting: () => boolean, napClock: NapClock = clock) {
    this.#isWaiting = isWaiting;
    this.#clock = napClock;
  }

  /** Naps in every turn until nothing is pending. Call it when something is. */
  start(): void {
    if (this.#isOn) return;
    this.#isOn = true;
    const { now, sleep, nextTurn } = this.#clock;
    const begin = now();
    const turn = (): void => {
      this.#isOn = this.#isWaiting();
      if (!this.#isOn) return;
      if (now() - begin >= AWAKE_MS) sleep(NAP_MS);
      nextTurn(turn);
    };
    nextTurn(turn);
  }
}

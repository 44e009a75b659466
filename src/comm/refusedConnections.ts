/**
 * Connections that came to nothing: port scanners, workers of another run. Anyone who reaches a port can make any number of them,
 * so each cause is logged once; all are counted.
 */
import type { Event } from 'zeromq';

export class RefusedConnections {
  readonly #port: string;
  readonly #log: (message: string) => void;
  readonly #logged = new Set<string>();
  #count = 0;

  /** @param port what they came to, for the log: "the coordinator's port" */
  constructor(port: string, log: (message: string) => void) {
    this.#port = port;
    this.#log = log;
  }

  get count(): number {
    return this.#count;
  }

  /** @param from completes "a connection …" */
  add(cause: string, from = ''): void {
    this.#count++;
    if (this.#logged.has(cause)) return;
    this.#logged.add(cause);
    this.#log(`refused a connection${from} to ${this.#port}: ${cause} (further ones are only counted)`);
  }

  /** What the monitor of a listening socket tells of them. Those that ZAP refused are told by its domain, which knows more. */
  watch(event: Event): void {
    if (event.type === 'handshake:error:protocol') this.add(protocolCause(event.error.code));
    else if (event.type === 'handshake:error:other') this.add('it ended in the middle of the handshake');
  }
}

function protocolCause(code: string): string {
  if (code === 'ERR_ZMTP_MECHANISM_MISMATCH') return 'one side encrypts and the other does not';
  if (code === 'ERR_ZMTP_CRYPTOGRAPHIC') return 'it has the keys of another run';
  return 'it does not speak the protocol of ZeroMQ';
}

/** Sends messages to workers on the control link, and records them in the flight recorder. Samples that workers of one host share: assignments.ts. */
import type { FlightRecorder } from '../base/flightRecorder.ts';
import type { CoordinatorMessage } from '../comm/coordinatorMessages.ts';
import { isTelling } from '../comm/flightMessages.ts';
import type { ControlServer } from '../comm/link.ts';
import { encodeMessage } from '../comm/protocol.ts';

export class Outbox {
  readonly #server: Pick<ControlServer, 'send'>;
  readonly #recorder: FlightRecorder | undefined;
  /** The message sent last, and its bytes. */
  #encoded: { readonly message: CoordinatorMessage; readonly frame: Uint8Array } | undefined;

  constructor(server: Pick<ControlServer, 'send'>, recorder: FlightRecorder | undefined) {
    this.#server = server;
    this.#recorder = recorder;
  }

  send(to: string, message: CoordinatorMessage, payload?: Uint8Array): void {
    if (isTelling(message)) this.#recorder?.record('sent', { to, message });
    // The same message goes to many.
    if (this.#encoded?.message !== message) this.#encoded = { message, frame: encodeMessage(message) };
    this.#server.send(to, this.#encoded.frame, payload);
  }
}

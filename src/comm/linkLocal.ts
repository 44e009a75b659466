/**
 * The ring's data path between two processes of one machine: a Unix socket, read into one buffer that is used again and again.
 * It costs half the processor time of ZeroMQ over loopback TCP (docs/decisions/ring.md), which on one machine is time that the
 * kernels lose. Control, other machines, and systems without abstract sockets (anything but Linux) stay with ZeroMQ.
 *
 * ```
 *  stream:  frame*        frame:  [ u32 payload bytes, little-endian | header (ringHeaderBytes) | payload ]
 * ```
 *
 * The sender listens and the receiver connects, since only the connecting end of a Node socket can choose the buffer that is
 * read into. The name of the socket is random and reaches the receiver through ZeroMQ; abstract names leave no file behind.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { ringHeaderBytes } from './link.ts';

const lengthBytes = 4;
const prefixBytes = lengthBytes + ringHeaderBytes;
const namePattern = /^lockstep-ring-[0-9a-f]{32}$/;

/** What two processes have in common if they run on the same machine; undefined where the local path is not available. */
export function localHostId(): string | undefined {
  if (process.platform !== 'linux') return undefined;
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
  } catch {
    return undefined;
  }
}

export function isLocalName(name: string): boolean {
  return namePattern.test(name);
}

/** The sending end: offers a socket, and sends to the first that connects. */
export class LocalSender {
  readonly name = `lockstep-ring-${randomBytes(16).toString('hex')}`;
  readonly #server: Server;
  #socket: Socket | undefined;
  #closed = false;

  /**
   * @param events `listening`: the name can be given away; `connected`: `send` may be called; `gone`: the receiver closed, or
   *   listening failed. None is called after `close`.
   */
  constructor(events: { listening: () => void; connected: () => void; gone: (reason: string) => void }) {
    const gone = (reason: string) => {
      if (this.#closed) return;
      this.close();
      events.gone(reason);
    };
    this.#server = createServer((socket) => {
      if (this.#socket || this.#closed) return void socket.destroy();
      this.#socket = socket;
      this.#server.close();
      socket.on('error', (error) => gone(error.message));
      socket.on('close', () => gone('its connection is closed'));
      socket.resume(); // nothing is expected, but only who reads notices the end
      events.connected();
    });
    this.#server.on('error', (error) => gone(error.message));
    this.#server.listen(`\0${this.name}`, () => this.#closed || events.listening());
  }

  /** Queues a frame: the header is copied, the payload referred to until the system has taken it. */
  send(header: Uint8Array, payload: Uint8Array): void {
    const prefix = Buffer.allocUnsafe(prefixBytes);
    prefix.writeUInt32LE(payload.byteLength, 0);
    prefix.set(header, lengthBytes);
    this.#socket?.cork();
    this.#socket?.write(prefix);
    if (payload.byteLength > 0) this.#socket?.write(payload);
    this.#socket?.uncork();
  }

  close(): void {
    this.#closed = true;
    this.#server.close();
    this.#socket?.destroy();
  }
}

export interface LocalReceiverOptions {
  name: string;
  maxMessageBytes: number;
  /** The payload is overwritten after the call. While a promise it returns is pending, nothing is read. */
  onFrame: (header: Uint8Array, payload: Uint8Array) => Promise<void> | undefined;
  /** The stream has ended, or never began. */
  onEnd: (reason: string | undefined) => void;
}

/** The receiving end. */
export class LocalReceiver {
  readonly #options: LocalReceiverOptions;
  readonly #socket: Socket;
  readonly #prefix = Buffer.alloc(prefixBytes);
  #payload = Buffer.alloc(0);
  /** Of the frame that is being read: -1 while its prefix is. */
  #payloadBytes = -1;
  #got = 0;
  #failure: string | undefined;

  constructor(options: LocalReceiverOptions) {
    this.#options = options;
    this.#socket = connect({
      path: `\0${options.name}`,
      // Asked for after every read: each read goes where the next bytes of the frame belong.
      onread: { buffer: () => this.#target(), callback: (bytes) => this.#onBytes(bytes) },
    });
    this.#socket.on('error', (error) => {
      this.#failure = error.message;
    });
    this.#socket.on('close', () => options.onEnd(this.#failure));
  }

  close(): void {
    this.#socket.destroy();
  }

  #target(): Uint8Array {
    if (this.#payloadBytes === -1) return this.#prefix.subarray(this.#got);
    return this.#payload.subarray(this.#got, this.#payloadBytes);
  }

  /** Returns whether to go on reading. */
  #onBytes(bytes: number): boolean {
    this.#got += bytes;
    if (this.#payloadBytes === -1) {
      if (this.#got < prefixBytes) return true;
      this.#payloadBytes = this.#prefix.readUInt32LE(0);
      this.#got = 0;
      if (this.#payloadBytes > this.#options.maxMessageBytes) {
        this.#failure = `a frame of ${this.#payloadBytes} bytes is above the limit of ${this.#options.maxMessageBytes}`;
        this.#socket.destroy();
        return false;
      }
      if (this.#payload.byteLength < this.#payloadBytes) this.#payload = Buffer.allocUnsafeSlow(this.#payloadBytes);
    }
    if (this.#got < this.#payloadBytes) return true;
    const payload = this.#payload.subarray(0, this.#payloadBytes);
    this.#payloadBytes = -1;
    this.#got = 0;
    const waiting = this.#options.onFrame(this.#prefix.subarray(lengthBytes), payload);
    if (!waiting) return true;
    void waiting.then(() => this.#socket.resume());
    return false;
  }
}

/**
 * The ring's data path between two processes of one machine: a Unix socket, read into one buffer that is used again and again.
 * It costs half the processor time of ZeroMQ over loopback TCP (docs/decisions/ring.md), which on one machine is time that the
 * kernels lose. Control, other machines, and systems without abstract sockets (anything but Linux) stay with ZeroMQ.
 *
 * ```
 *  receiver to sender:  ticket
 *  sender to receiver:  proof frame*        frame:  [ u32 payload bytes, little-endian | header (ringHeaderBytes) | payload ]
 * ```
 *
 * The sender listens and the receiver connects, since only the connecting end of a Node socket can choose the buffer that is
 * read into. Abstract names leave no file behind, but any user of the machine can read them in /proc/net/unix, connect to them, and
 * take those that are free again. So the offer, which reaches the receiver through ZeroMQ, has two secrets beside the name: the
 * receiver shows the ticket, and the sender answers with the proof. Frames are not encrypted: they never leave the machine.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { messageOf } from '../base/errors.ts';
import { ringHeaderBytes } from './link.ts';

const lengthBytes = 4;
const prefixBytes = lengthBytes + ringHeaderBytes;
const secretBytes = 32;
const offerPattern = /^(lockstep-ring-[0-9a-f]{32}) ([0-9a-f]{64}) ([0-9a-f]{64})$/;

/** Connections that have not shown the ticket yet. Above it the oldest makes room: the receiver shows it at once. */
const strangersMax = 8;
/** How long they may take to show it. */
const strangerTimeoutMs = 1000;

/** What the next rank needs to take up a local stream. */
export interface UnixSocketOffer {
  readonly name: string;
  readonly ticket: Buffer;
  readonly proof: Buffer;
}

/**
 * What two processes have in common if they run on the same machine and in the same network namespace, which abstract sockets
 * belong to: two containers may share a machine, but no such socket. Undefined where the local path is not available.
 */
export function localHostId(): string | undefined {
  if (process.platform !== 'linux') return undefined;
  try {
    const [network = ''] = /\d+/.exec(readlinkSync('/proc/self/ns/net')) ?? []; // net:[4026531833]
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()}-${network}`;
  } catch {
    return undefined;
  }
}

/** Undefined if the message is not an offer. */
export function parseOffer(message: Buffer): UnixSocketOffer | undefined {
  const [, name, ticket, proof] = offerPattern.exec(message.toString('latin1', 0, 256)) ?? [];
  if (name === undefined || ticket === undefined || proof === undefined) return undefined;
  return { name, ticket: Buffer.from(ticket, 'hex'), proof: Buffer.from(proof, 'hex') };
}

export interface UnixSocketSenderEvents {
  /** The offer can be made. */
  listening: () => void;
  /** `send` may be called. */
  connected: () => void;
  /** Somebody connected who does not have the ticket. */
  stranger: () => void;
  /** The receiver closed, or listening failed. */
  gone: (reason: string) => void;
}

/** The sending end: offers a socket, and sends to the first that shows the ticket. */
export class UnixSocketSender {
  readonly #name = `lockstep-ring-${randomBytes(16).toString('hex')}`;
  readonly #ticket = randomBytes(secretBytes);
  readonly #proof = randomBytes(secretBytes);
  readonly #events: UnixSocketSenderEvents;
  readonly #server: Server;
  /** Connections that have not shown the ticket yet, oldest first. */
  readonly #strangers = new Set<Socket>();
  #socket: Socket | undefined;
  #closed = false;

  /** None of the events is called after `close`. */
  constructor(events: UnixSocketSenderEvents) {
    this.#events = events;
    this.#server = createServer((socket) => this.#onConnection(socket));
    this.#server.on('error', (error) => this.#gone(messageOf(error)));
    this.#server.listen(`\0${this.#name}`, () => this.#closed || events.listening());
  }

  /** The message that makes the offer. */
  get offer(): Buffer {
    return Buffer.from(`${this.#name} ${this.#ticket.toString('hex')} ${this.#proof.toString('hex')}`, 'latin1');
  }

  #onConnection(socket: Socket): void {
    if (this.#socket || this.#closed) return void socket.destroy();
    const [oldest] = this.#strangers;
    if (oldest && this.#strangers.size === strangersMax) oldest.destroy();
    this.#strangers.add(socket);
    const timer = setTimeout(() => socket.destroy(), strangerTimeoutMs);
    let shown = Buffer.alloc(0);
    const onData = (chunk: Buffer) => {
      shown = Buffer.concat([shown, chunk]);
      if (shown.byteLength < secretBytes) return;
      if (shown.byteLength > secretBytes || !timingSafeEqual(shown, this.#ticket)) return void socket.destroy();
      socket.off('data', onData).off('close', onClose);
      clearTimeout(timer);
      this.#accept(socket);
    };
    const onClose = () => {
      clearTimeout(timer);
      this.#strangers.delete(socket);
      if (!this.#closed && !this.#socket) this.#events.stranger();
    };
    socket.on('data', onData).on('close', onClose);
    socket.on('error', () => {}); // `close` follows
  }

  #accept(socket: Socket): void {
    this.#strangers.delete(socket);
    this.#socket = socket;
    this.#stopListening();
    let failure: string | undefined;
    socket.on('error', (error) => {
      failure = messageOf(error);
    });
    socket.on('close', () => this.#gone(failure ?? 'its connection is closed'));
    socket.resume(); // nothing more is expected, but the end of a connection is only noticed while reading
    socket.write(this.#proof);
    this.#events.connected();
  }

  #gone(reason: string): void {
    if (this.#closed) return;
    this.close();
    this.#events.gone(reason);
  }

  #stopListening(): void {
    this.#server.close();
    for (const stranger of this.#strangers) stranger.destroy();
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
    this.#stopListening();
    this.#socket?.destroy();
  }
}

export interface UnixSocketReceiverOptions {
  offer: UnixSocketOffer;
  maxMessageBytes: number;
  /** The payload is overwritten after the call. While a promise it returns is pending, nothing is read. */
  onFrame: (header: Uint8Array, payload: Uint8Array) => Promise<void> | undefined;
  /** The stream has ended, or never began. */
  onEnd: (reason: string | undefined) => void;
}

/** The receiving end. */
export class UnixSocketReceiver {
  readonly #options: UnixSocketReceiverOptions;
  readonly #socket: Socket;
  readonly #prefix = Buffer.alloc(prefixBytes);
  #payload = Buffer.alloc(0);
  /** Filled first of all; a frame may follow once it is the proof that was offered. */
  readonly #proof = Buffer.alloc(secretBytes);
  #proven = false;
  /** Payload size of the current frame; -1 while reading its prefix. */
  #payloadBytes = -1;
  #got = 0;
  #failure: string | undefined;

  constructor(options: UnixSocketReceiverOptions) {
    this.#options = options;
    this.#socket = connect({
      path: `\0${options.offer.name}`,
      // Asked for after every read: each read goes where the next bytes of the frame belong.
      onread: { buffer: () => this.#target(), callback: (bytes) => this.#onBytes(bytes) },
    });
    this.#socket.on('error', (error) => {
      this.#failure = messageOf(error);
    });
    this.#socket.on('close', () => options.onEnd(this.#failure));
    this.#socket.write(options.offer.ticket);
  }

  close(): void {
    this.#socket.destroy();
  }

  #target(): Uint8Array {
    if (!this.#proven) return this.#proof.subarray(this.#got);
    if (this.#payloadBytes === -1) return this.#prefix.subarray(this.#got);
    return this.#payload.subarray(this.#got, this.#payloadBytes);
  }

  /** Returns whether to continue reading. */
  #onBytes(bytes: number): boolean {
    this.#got += bytes;
    if (!this.#proven) return this.#checkProof();
    if (this.#payloadBytes === -1) {
      if (this.#got < prefixBytes) return true;
      this.#payloadBytes = this.#prefix.readUInt32LE(0);
      this.#got = 0;
      if (this.#payloadBytes > this.#options.maxMessageBytes) {
        return this.#fail(
          `a frame of ${this.#payloadBytes} bytes is above the limit of ${this.#options.maxMessageBytes}`,
        );
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

  #checkProof(): boolean {
    if (this.#got < secretBytes) return true;
    if (!timingSafeEqual(this.#proof, this.#options.offer.proof)) return this.#fail('it is not from who offered it');
    this.#proven = true;
    this.#got = 0;
    return true;
  }

  #fail(reason: string): false {
    this.#failure = reason;
    this.#socket.destroy();
    return false;
  }
}

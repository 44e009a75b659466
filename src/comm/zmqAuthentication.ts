/**
 * Who may connect: the ZAP handler of this process (https://rfc.zeromq.org/spec/27). ZeroMQ asks it, over
 * `inproc://zeromq.zap.01`, about every client that has finished a CURVE handshake; here each socket with keys has a domain,
 * and each domain has a list of admitted public keys. All others are refused; without a list, everyone is.
 *
 * ```
 *  request:  [ route | (empty) | "1.0" | request id | domain | address | identity | "CURVE" | public key, 32 bytes ]
 *  reply:    [ route | (empty) | "1.0" | request id | "200" or "400" | text | user id | metadata ]
 * ```
 *
 * The handler runs while there are domains, so that nothing of it holds the process. Without it ZeroMQ refuses everybody, since
 * sockets are made with `zapEnforceDomain`.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import * as zmq from 'zeromq';
import { errorCode } from '../base/errors.ts';
import { hexOfKey } from './z85.ts';
import { receiveLoop } from './zmqSocket.ts';

const endpoint = 'inproc://zeromq.zap.01';

/** Clients of one domain that may wait for its list. Above it the one that came first is refused. */
const waitingMax = 16;

export interface ZapDomainOptions {
  /**
   * How long a client that is not on the list waits for a list that has it, before it is refused. ZeroMQ gives a handshake 30 s.
   * A refused client does not try again.
   */
  patienceMs: number;
  /** A client was refused. */
  onRefused: (address: string) => void;
}

interface Waiting {
  readonly key: string;
  readonly address: string;
  readonly answer: (allowed: boolean) => void;
  readonly timer: NodeJS.Timeout;
}

/** The list of one socket. */
export class ZapDomain {
  readonly name: string;
  readonly #options: ZapDomainOptions;
  /** Public keys in hex. */
  #allowed: ReadonlySet<string> = new Set();
  readonly #waiting = new Set<Waiting>();
  readonly #leave: () => void;
  #closed = false;

  /** @param leave called once, when the domain is closed */
  constructor(name: string, options: ZapDomainOptions, leave: () => void) {
    this.name = name;
    this.#options = options;
    this.#leave = leave;
  }

  /** Replaces the list. Connections that were let in before stay. @param publicKeys in Z85 */
  allow(publicKeys: readonly string[]): void {
    this.#allowed = new Set(publicKeys.map(hexOfKey));
    for (const waiting of [...this.#waiting]) if (this.#allowed.has(waiting.key)) this.#settle(waiting, true);
  }

  /** Refuses from now on, those that wait included. To be called after the socket is closed. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const waiting of [...this.#waiting]) this.#settle(waiting, false);
    this.#leave();
  }

  /** @param key in hex */
  ask(key: string, address: string, answer: (allowed: boolean) => void): void {
    const { patienceMs } = this.#options;
    if (this.#allowed.has(key)) {
      answer(true);
      return;
    }
    const timer = setTimeout(() => this.#settle(waiting, false), patienceMs).unref();
    const waiting: Waiting = { key, address, answer, timer };
    this.#waiting.add(waiting);
    const [first] = this.#waiting;
    if (patienceMs === 0) this.#settle(waiting, false);
    else if (first && this.#waiting.size > waitingMax) this.#settle(first, false);
  }

  #settle(waiting: Waiting, allowed: boolean): void {
    if (!this.#waiting.delete(waiting)) return;
    clearTimeout(waiting.timer);
    waiting.answer(allowed);
    if (!allowed && !this.#closed) this.#options.onRefused(waiting.address);
  }
}

/** How long ZeroMQ may take to let go of the name of a handler that was closed. */
const nameFreeMs = 2_000;

const domains = new Map<string, ZapDomain>();
let domainsMade = 0;
let handler: zmq.Router | undefined;
/** Starts and stops follow one another. */
let changing: Promise<void> = Promise.resolve();

/**
 * Makes a domain, and starts the handler if it is the first.
 * @throws an error of ZeroMQ if something else in this process answers ZAP requests
 */
export async function openZapDomain(options: ZapDomainOptions): Promise<ZapDomain> {
  const name = `lockstep-${++domainsMade}`;
  const domain = new ZapDomain(name, options, () => {
    domains.delete(name);
    change().catch(() => undefined);
  });
  domains.set(name, domain);
  try {
    await change();
  } catch (error) {
    domain.close();
    throw error;
  }
  return domain;
}

/** Has the handler run if, and only if, there are domains. */
function change(): Promise<void> {
  changing = changing
    .catch(() => undefined)
    .then(async () => {
      if (domains.size > 0 && handler === undefined) {
        handler = await start();
        const socket = handler;
        void receiveLoop(socket, (frames) => void answer(socket, frames));
      } else if (domains.size === 0 && handler !== undefined) {
        // Not `unbind`: zeromq.js calls it in another thread, beside the main thread that reads from the same socket.
        handler.close();
        handler = undefined;
      }
    });
  return changing;
}

/** ZeroMQ lets go of the name of a closed socket in its own time. */
async function start(): Promise<zmq.Router> {
  const socket = new zmq.Router({ linger: 0, sendTimeout: 0 });
  for (const endMs = performance.now() + nameFreeMs; ; ) {
    try {
      await socket.bind(endpoint);
      return socket;
    } catch (error) {
      if (errorCode(error) === 'EADDRINUSE' && performance.now() < endMs) await sleep(1);
      else {
        socket.close();
        throw error;
      }
    }
  }
}

function answer(socket: zmq.Router, [route, empty, version, id, domain, address, , mechanism, key]: Buffer[]): void {
  if (route === undefined || empty === undefined || id === undefined) return;
  const reply = (allowed: boolean) => {
    if (socket.closed) return;
    const status = allowed ? ['200', 'OK'] : ['400', 'not a key of this run'];
    // Fails only where the client is gone already.
    socket.send([route, empty, '1.0', id, ...status, '', '']).catch(() => undefined);
  };
  const known = domains.get(domain?.toString('latin1') ?? '');
  const valid =
    version?.toString('latin1') === '1.0' && mechanism?.toString('latin1') === 'CURVE' && key?.length === 32;
  if (known === undefined || !valid) reply(false);
  else known.ask(key.toString('hex'), address?.toString('latin1') ?? '', reply);
}

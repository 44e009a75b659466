/**
 * The dashboard's server: a page, its assets, the state of the runs as server-sent events, and Prometheus metrics. It reads run
 * directories and nothing else, so it serves runs of this process, of others, and finished ones alike; it never writes. It reads
 * while somebody looks: a run whose page nobody has open pays nothing for it.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { messageOf } from '../base/errors.ts';
import { packageRoot } from '../base/packageRoot.ts';
import { accessOf } from '../web/access.ts';
import { EventResponse, securityHeaders } from '../web/eventResponse.ts';
import { listen, tokenFor, urlsOf } from '../web/listen.ts';
import { EventStream } from './eventStream.ts';
import { exposition } from './exposition.ts';
import { RunView } from './runView.ts';
import { UpdateEncoder } from './updateEncoder.ts';

export interface DashboardOptions {
  readonly runDirs: readonly string[];
  /** An address of this machine; anything but loopback needs a token, which is made here. */
  readonly host: string;
  /** 0: the system chooses. */
  readonly port: number;
  readonly onWarning: (message: string) => void;
  /** How often the directories are read while a page is open. Default 500. */
  readonly intervalMs?: number;
}

/** As the build leaves it. */
const page = join(packageRoot, 'dist', 'dashboard', 'page');
const types = {
  html: 'text/html; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  css: 'text/css; charset=utf-8',
};
/** Viewers at a time: each is a socket and a little memory. */
const viewersMax = 64;

export class Dashboard {
  readonly #options: DashboardOptions;
  readonly #token: string | undefined;
  readonly #server: FastifyInstance;
  readonly #runs: readonly RunView[];
  readonly #encoder: UpdateEncoder;
  readonly #streams = new Set<EventStream>();
  #timer: NodeJS.Timeout | undefined;
  #reading: Promise<void> | undefined;
  #isClosed = false;
  readonly #hasWarned = new Set<RunView>();

  private constructor(options: DashboardOptions) {
    this.#options = options;
    this.#token = tokenFor(options.host);
    this.#runs = options.runDirs.map((path) => new RunView(path));
    this.#encoder = new UpdateEncoder(this.#runs);
    this.#server = Fastify({ forceCloseConnections: true, bodyLimit: 1_024, exposeHeadRoutes: false });
  }

  /** @throws UserError if the port is taken or the address is none of this machine */
  static async open(options: DashboardOptions): Promise<Dashboard> {
    const dashboard = new Dashboard(options);
    try {
      await dashboard.#route();
      await listen(dashboard.#server, 'the dashboard', options);
    } catch (error) {
      await dashboard.#server.close();
      throw error;
    }
    return dashboard;
  }

  /** What to open in a browser on this machine. */
  get url(): string {
    return urlsOf(this.#server, this.#token).here;
  }

  /** What to open on another machine, where that is another address: undefined unless it listens on all of this machine. */
  get urlElsewhere(): string | undefined {
    return urlsOf(this.#server, this.#token).elsewhere;
  }

  /** Reads what is new and ends every connection. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#reading;
    if (this.#streams.size > 0) await this.#refresh();
    for (const stream of this.#streams) {
      stream.send();
      stream.end();
    }
    await this.#server.close();
  }

  async #route(): Promise<void> {
    const assets = await readAssets();
    this.#server.addHook('onRequest', async (request, reply) => this.#admit(request, reply, assets.policy));
    for (const [path, { type, body }] of assets.files) {
      this.#server.get(path, async (_, reply) => reply.type(type).send(body));
    }
    this.#server.get('/metrics', async (_, reply) => {
      await this.#refresh();
      return reply.type('text/plain; version=0.0.4; charset=utf-8').send(exposition(this.#runs));
    });
    this.#server.get('/api/config', async () => {
      await this.#refresh();
      return this.#runs.map(({ name, config }) => ({ name, config }));
    });
    this.#server.get('/api/stream', async (request, reply) => this.#stream(request, reply));
  }

  async #admit(request: FastifyRequest, reply: FastifyReply, policy: string): Promise<unknown> {
    reply.headers(securityHeaders(policy));
    const { host, cookie, authorization } = request.headers;
    const { token } = request.query as { token?: unknown };
    const queryToken = typeof token === 'string' ? token : undefined;
    const access = accessOf(
      { token: this.#token, port: request.socket.localPort },
      { host, cookie, authorization, queryToken },
    );
    if (!access.allowed) return reply.code(403).type('text/plain').send(`${access.reason}\n`);
    if (access.cookie !== undefined) reply.header('set-cookie', access.cookie);
    return undefined;
  }

  #stream(request: FastifyRequest, reply: FastifyReply): FastifyReply {
    if (this.#streams.size >= viewersMax) return reply.code(503).type('text/plain').send('too many pages are open\n');
    const stream = new EventStream(new EventResponse(reply), this.#encoder);
    this.#streams.add(stream);
    request.raw.on('close', () => this.#streams.delete(stream));
    this.#tick();
    return reply;
  }

  /** Tells every page what is new, now and from then on, until none is open. */
  #tick(): void {
    void this.#refresh().then(() => {
      for (const stream of this.#streams) stream.send();
      clearTimeout(this.#timer);
      if (this.#streams.size > 0 && !this.#isClosed)
        this.#timer = setTimeout(() => this.#tick(), this.#options.intervalMs ?? 500);
    });
  }

  /** Reads what is new, once for all who ask meanwhile. */
  #refresh(): Promise<void> {
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  /** A directory that cannot be read now is warned of once, and the others are read; training has nothing to do with it. */
  async #read(): Promise<void> {
    for (const run of this.#runs) {
      try {
        await run.refresh();
      } catch (error) {
        if (!this.#hasWarned.has(run)) this.#options.onWarning(`the dashboard cannot read a run: ${messageOf(error)}`);
        this.#hasWarned.add(run);
      }
    }
  }
}

interface Asset {
  readonly type: string;
  readonly body: string;
}

/** The page's own files, the style of both servers' pages, and uPlot's, by path; and what the page may load: these and nothing else. */
async function readAssets(): Promise<{ files: Map<string, Asset>; policy: string }> {
  const uplot = dirname(createRequire(import.meta.url).resolve('uplot'));
  const html = await readFile(join(page, 'index.html'), 'utf8');
  const files = new Map<string, Asset>([
    ['/', { type: types.html, body: html }],
    ['/base.css', { type: types.css, body: await readFile(join(page, '../../web/base.css'), 'utf8') }],
    ['/page.css', { type: types.css, body: await readFile(join(page, 'page.css'), 'utf8') }],
    ['/uplot.js', { type: types.js, body: await readFile(join(uplot, 'uPlot.esm.js'), 'utf8') }],
    ['/uplot.css', { type: types.css, body: await readFile(join(uplot, 'uPlot.min.css'), 'utf8') }],
  ]);
  for (const name of ['page', 'charts', 'curves', 'readout', 'panels', 'format']) {
    files.set(`/${name}.js`, { type: types.js, body: await readFile(join(page, `${name}.js`), 'utf8') });
  }
  const importMap = /<script type="importmap">([\s\S]*?)<\/script>/.exec(html)?.[1] ?? '';
  const hash = createHash('sha256').update(importMap).digest('base64');
  const policy =
    `default-src 'none'; script-src 'self' 'sha256-${hash}'; style-src 'self'; connect-src 'self'; ` +
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
  return { files, policy };
}

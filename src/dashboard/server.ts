/**
 * The dashboard's server: a page, its assets, the state of the runs as server-sent events, and Prometheus metrics. It reads run
 * directories and nothing else, so it serves runs of this process, of others, and finished ones alike; it never writes. It reads
 * while somebody looks: a run whose page nobody has open pays nothing for it.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fullMessageOf } from '../base/errors.ts';
import { packageRoot } from '../base/packageRoot.ts';
import { accessOf, isForeign } from '../web/access.ts';
import { EventResponse, securityHeaders } from '../web/eventResponse.ts';
import { HttpError } from '../web/httpError.ts';
import { asset, type Exchange, HttpServer, type Route, send, sendJson } from '../web/httpServer.ts';
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
  readonly #server: HttpServer;
  readonly #runs: readonly RunView[];
  readonly #encoder: UpdateEncoder;
  readonly #streams = new Set<EventStream>();
  #timer: NodeJS.Timeout | undefined;
  #reading: Promise<void> | undefined;
  #isClosed = false;
  readonly #hasWarned = new Set<RunView>();

  private constructor(options: DashboardOptions, assets: Assets) {
    this.#options = options;
    this.#token = tokenFor(options.host);
    this.#runs = options.runDirs.map((path) => new RunView(path));
    this.#encoder = new UpdateEncoder(this.#runs);
    this.#server = new HttpServer({
      routes: [...assets.routes, ...this.#routes],
      headers: securityHeaders(assets.policy),
      admit: (exchange) => this.#admit(exchange),
      refusal: ({ message }) => ({ type: 'text/plain; charset=utf-8', body: `${message}\n` }),
      failure: (error) => {
        options.onWarning(`the dashboard could not answer a request: ${fullMessageOf(error)}`);
        return new HttpError('the dashboard failed; the warnings of its program say why', { status: 500 });
      },
    });
  }

  /** @throws UserError if the port is taken or the address does not belong to this machine */
  static async open(options: DashboardOptions): Promise<Dashboard> {
    const dashboard = new Dashboard(options, await readAssets());
    try {
      await listen(dashboard.#server.server, 'the dashboard', options);
    } catch (error) {
      await dashboard.#server.close();
      throw error;
    }
    return dashboard;
  }

  /** What to open in a browser on this machine. */
  get url(): string {
    return urlsOf(this.#server.server, this.#token).here;
  }

  /** What to open on another machine, where that is another address: undefined unless it listens on all of this machine. */
  get urlElsewhere(): string | undefined {
    return urlsOf(this.#server.server, this.#token).elsewhere;
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

  get #routes(): Route[] {
    return [
      {
        method: 'GET',
        path: '/metrics',
        handle: async ({ response }) => {
          await this.#refresh();
          send(response, { type: 'text/plain; version=0.0.4; charset=utf-8', body: exposition(this.#runs) });
        },
      },
      {
        method: 'GET',
        path: '/api/config',
        handle: async ({ response }) => {
          await this.#refresh();
          sendJson(
            response,
            this.#runs.map(({ name, config }) => ({ name, config })),
          );
        },
      },
      { method: 'GET', path: '/api/stream', handle: ({ response }) => this.#stream(response) },
    ];
  }

  #admit({ request, response, query }: Exchange): void {
    const { host, cookie, authorization } = request.headers;
    if (isForeign(request.headers)) {
      throw new HttpError('a page of another site may not use the dashboard', { status: 403 });
    }
    const access = accessOf(
      { token: this.#token, port: request.socket.localPort },
      { host, cookie, authorization, queryToken: query.get('token') ?? undefined },
    );
    if (!access.allowed) throw new HttpError(access.reason, { status: 403 });
    if (access.cookie !== undefined) response.setHeader('set-cookie', access.cookie);
  }

  #stream(response: ServerResponse): void {
    if (this.#streams.size >= viewersMax) throw new HttpError('too many pages are open', { status: 503 });
    const stream = new EventStream(new EventResponse(response), this.#encoder);
    this.#streams.add(stream);
    response.on('close', () => this.#streams.delete(stream));
    this.#tick();
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
        if (!this.#hasWarned.has(run))
          this.#options.onWarning(`the dashboard cannot read the run ${run.name}: ${fullMessageOf(error)}`);
        this.#hasWarned.add(run);
      }
    }
  }
}

interface Assets {
  readonly routes: readonly Route[];
  /** What the page may load: these and nothing else. */
  readonly policy: string;
}

/** The page's own files, the style of both servers' pages, and uPlot's. */
async function readAssets(): Promise<Assets> {
  const uplot = dirname(createRequire(import.meta.url).resolve('uplot'));
  const html = await readFile(join(page, 'index.html'), 'utf8');
  const routes = [
    asset('/', types.html, html),
    asset('/base.css', types.css, await readFile(join(page, '../../web/base.css'), 'utf8')),
    asset('/page.css', types.css, await readFile(join(page, 'page.css'), 'utf8')),
    asset('/uplot.js', types.js, await readFile(join(uplot, 'uPlot.esm.js'), 'utf8')),
    asset('/uplot.css', types.css, await readFile(join(uplot, 'uPlot.min.css'), 'utf8')),
  ];
  for (const name of ['page', 'charts', 'curves', 'readout', 'panels', 'format']) {
    routes.push(asset(`/${name}.js`, types.js, await readFile(join(page, `${name}.js`), 'utf8')));
  }
  const importMap = /<script type="importmap">([\s\S]*?)<\/script>/.exec(html)?.[1] ?? '';
  const hash = createHash('sha256').update(importMap).digest('base64');
  const policy =
    `default-src 'none'; script-src 'self' 'sha256-${hash}'; style-src 'self'; connect-src 'self'; ` +
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
  return { routes, policy };
}

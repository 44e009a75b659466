/**
 * Generates text and streams it over HTTP. After `npm run build`:
 *
 *   node build/examples/server.js runs/quickstart [port]
 *   curl -N --data 'export function ' 'http://127.0.0.1:8080/?tokens=100'
 *
 * A prompt may have up to 8 KiB and a text up to 1,000 tokens. If the client disconnects, generation stops.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { loadCheckpoint, UserError } from 'lockstep';

const promptBytesMax = 8_192;
const tokensMax = 1_000;

const [checkpoint, port = '8080'] = process.argv.slice(2);
if (checkpoint === undefined)
  throw new UserError('expected a checkpoint: node build/examples/server.js runs/quickstart');
const model = await loadCheckpoint(checkpoint);

const server = createServer((request, response) => {
  answer(request, response).catch((error: unknown) => {
    if (response.destroyed) return; // the client has disconnected
    if (response.headersSent) response.destroy();
    else
      response.writeHead(error instanceof UserError ? 400 : 500).end(error instanceof UserError ? error.message : '');
  });
});

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const left = new AbortController();
  response.on('close', () => left.abort());
  const tokens = Number(new URL(request.url ?? '/', 'http://localhost').searchParams.get('tokens') ?? 200);
  if (!(tokens >= 1 && tokens <= tokensMax)) throw new UserError(`tokens: expected 1 to ${tokensMax}`);
  const prompt = await promptOf(request);
  for await (const piece of model.generate(prompt, { maxTokens: Math.floor(tokens), signal: left.signal })) {
    if (!response.headersSent) response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8' });
    if (!response.write(piece)) await once(response, 'drain', { signal: left.signal });
  }
  response.end();
}

async function promptOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > promptBytesMax) throw new UserError(`the prompt is longer than ${promptBytesMax} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

server.listen(Number(port), '127.0.0.1', () => console.log(`${model.description}\nlistening on`, server.address()));
process.once('SIGTERM', () => server.close(() => void model.dispose()).closeAllConnections());

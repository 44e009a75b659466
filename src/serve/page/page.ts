/** The page to type in: it sends the text to the server it came from, and appends what comes back, piece by piece. */
import { readEvents } from './events.ts';

const find = <T extends HTMLElement>(id: string, type: new () => T): T => {
  const found = document.getElementById(id);
  if (found instanceof type) return found;
  throw new Error(`the page has no ${id}`);
};

const text = find('text', HTMLTextAreaElement);
const go = find('go', HTMLButtonElement);
const undo = find('undo', HTMLButtonElement);
const state = find('state', HTMLParagraphElement);
const problem = find('problem', HTMLSpanElement);
const numbers = ['max_tokens', 'temperature', 'top_k', 'top_p', 'seed'] as const;

let model = '';
/** Aborts the continuation in progress. */
let underWay: AbortController | undefined;
/** The texts before each continuation. */
const before: string[] = [];

function show(): void {
  go.textContent = underWay === undefined ? 'Continue' : 'Stop';
  undo.disabled = underWay !== undefined || before.length === 0;
  text.readOnly = underWay !== undefined;
}

function options(): Record<string, unknown> {
  const stop = find('stop', HTMLInputElement).value;
  const given: Record<string, unknown> = { model, prompt: text.value, stream: true };
  for (const name of numbers) {
    const { value, valueAsNumber } = find(name, HTMLInputElement);
    if (value !== '') given[name] = valueAsNumber;
  }
  if (stop !== '') given['stop'] = stop.replaceAll('\\n', '\n');
  return given;
}

async function continueText(): Promise<void> {
  const abort = new AbortController();
  underWay = abort;
  before.push(text.value);
  problem.textContent = '';
  show();
  const startMs = performance.now();
  let tokens = 0;
  try {
    const response = await fetch('/v1/completions', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(options()),
      signal: abort.signal,
    });
    if (!response.ok || response.body === null) {
      const { error } = (await response.json()) as { error: { message: string } };
      throw new Error(error.message);
    }
    let isComplete = false;
    for await (const data of readEvents(response.body)) {
      isComplete = data === '[DONE]';
      if (isComplete) break;
      const event = JSON.parse(data) as { choices: { text: string }[]; error?: { message: string } };
      if (event.error !== undefined) throw new Error(event.error.message);
      for (const choice of event.choices) append(choice.text);
      tokens++;
      const seconds = (performance.now() - startMs) / 1000;
      state.textContent = `${model}: ${tokens} pieces, ${(tokens / seconds).toFixed(1)} a second`;
    }
    if (!isComplete) throw new Error('the server ended the text early');
  } catch (error) {
    if (!abort.signal.aborted) problem.textContent = reasonOf(error);
  } finally {
    underWay = undefined;
    // Without new text there is nothing to undo.
    if (before.at(-1) === text.value) before.pop();
    show();
    text.focus();
  }
}

/** Browsers report a failed connection as a TypeError, in their own words. */
function reasonOf(error: unknown): string {
  if (error instanceof TypeError) return 'the connection to the server failed; is it still running?';
  return error instanceof Error ? error.message : String(error);
}

function append(piece: string): void {
  const isAtEnd = text.scrollTop + text.clientHeight >= text.scrollHeight - 8;
  text.value += piece;
  if (isAtEnd) text.scrollTop = text.scrollHeight;
}

go.addEventListener('click', () => {
  if (underWay === undefined) void continueText();
  else underWay.abort();
});
undo.addEventListener('click', () => {
  text.value = before.pop() ?? text.value;
  show();
});
text.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey) && underWay === undefined) void continueText();
});

try {
  const { data } = (await (await fetch('/v1/models')).json()) as { data: { id: string }[] };
  model = data[0]?.id ?? '';
  state.textContent = model;
  document.title = `${model} – Lockstep`;
} catch {
  state.textContent = 'the server does not answer';
}
show();

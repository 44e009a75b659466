/** The page: takes what the server tells, and draws it, at most once a frame. */
import type { IndexedUpdate } from '../runUpdate.ts';
import { Charts } from './charts.ts';
import { drawConfigs, drawEvents, drawLegend, drawSamples, drawTiles, drawTimeline } from './panels.ts';
import type { RunState } from './runState.ts';

const runs: RunState[] = [];
const charts = new Charts(byId('charts'));
let isDrawn = true;

drawLegend(byId('legend'));
for (const id of ['log', 'smooth']) byId(id).addEventListener('change', draw);
void loadConfigs();
connect();

function connect(): void {
  const source = new EventSource('/api/stream');
  let hasEnded = false;
  source.addEventListener('open', () => say('live', false));
  source.addEventListener('message', ({ data }: MessageEvent<string>) => {
    const wasEmpty = runs.length === 0;
    for (const update of JSON.parse(data) as IndexedUpdate[]) take(update);
    if (!wasEmpty || runs.some(({ points }) => points.length > 0)) draw();
    if (wasEmpty) void loadConfigs();
  });
  source.addEventListener('end', () => {
    hasEnded = true;
    source.close();
    say('the run has ended; what you see is its end', false);
    for (const run of runs) run.isRunning = false;
    draw();
  });
  // The browser tries again by itself.
  source.addEventListener('error', () => {
    if (!hasEnded) say('the connection is lost; trying again', true);
  });
}

function take(update: IndexedUpdate): void {
  const { index, reset, name, points, after, timeline, maxSteps, isRunning } = update;
  const before = reset ? undefined : runs[index];
  runs[index] = {
    ...{ name, timeline, maxSteps, isRunning },
    points: [...(before?.points ?? []).filter(({ step }) => step <= after), ...points],
    validations: update.validations ?? before?.validations ?? [],
    events: update.events ?? before?.events ?? [],
    samples: update.samples ?? before?.samples ?? [],
  };
}

function draw(): void {
  if (!isDrawn) return;
  isDrawn = false;
  requestAnimationFrame(() => {
    isDrawn = true;
    const known = runs.filter((run) => run !== undefined);
    charts.draw(known, { logarithmic: isChecked('log'), smooth: isChecked('smooth') });
    drawTiles(byId('tiles'), known);
    drawTimeline(byId('timeline'), known);
    drawEvents(byId('events'), known);
    drawSamples(byId('samples'), known);
    document.title = `${known.map(({ timeline }) => timeline.at(-1)?.step ?? 0).join(', ')} · Lockstep`;
  });
}

async function loadConfigs(): Promise<void> {
  const response = await fetch('/api/config');
  if (response.ok) drawConfigs(byId('configs'), (await response.json()) as { name: string; config: string }[]);
}

function say(text: string, isLost: boolean): void {
  const state = byId('state');
  state.textContent = text;
  state.className = isLost ? 'lost' : '';
}

function isChecked(id: string): boolean {
  return (byId(id) as HTMLInputElement).checked;
}

function byId(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no element ${id}`);
  return found;
}

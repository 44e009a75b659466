/**
 * The page: takes what the server tells, and draws it. Often the machine that shows it is the one that trains, with cores for both:
 * nothing is drawn that has not changed, is out of view, or would hardly be seen to move.
 */
import type { IndexedUpdate } from '../runUpdate.ts';
import { Charts } from './charts.ts';
import { drawConfigs, drawEvents, drawSamples, drawTiles, drawTimeline } from './panels.ts';
import type { RunState } from './runState.ts';

/** The curves of a run of quick steps are drawn so often; those of slow steps with each step. */
const curvesEveryMs = 1_000;

const runs: RunState[] = [];
const charts = new Charts({ main: byId('loss'), others: byId('charts') });
let isDrawn = true;
let areListsDrawn = false;
let curvesTimer: number | undefined;
let curvesDueMs = 0;

for (const id of ['log', 'smooth']) byId(id).addEventListener('change', drawCurves);
void loadConfigs();
connect();

function connect(): void {
  const source = new EventSource('/api/stream');
  let hasEnded = false;
  source.addEventListener('message', ({ data }: MessageEvent<string>) => {
    const wasEmpty = runs.length === 0;
    const updates = JSON.parse(data) as IndexedUpdate[];
    for (const update of updates) take(update);
    // A page in the background draws nothing, but its title is seen.
    document.title = `${known()
      .map(({ newest }) => newest?.step ?? 0)
      .join(', ')} · Lockstep`;
    areListsDrawn &&= updates.every(({ events, samples }) => events === undefined && samples === undefined);
    draw();
    say(known().some(({ isRunning }) => isRunning) ? 'live' : 'no active run', false);
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
  const { index, reset, name, points, after, newest, tokensPerSecond, mfu, maxSteps, isRunning, best } = update;
  const before = reset ? undefined : runs[index];
  runs[index] = {
    name,
    newest,
    tokensPerSecond,
    mfu,
    best,
    maxSteps,
    isRunning,
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
    drawTiles(byId('tiles'), known());
    drawTimeline(byId('timeline'), byId('legend'), known());
    if (!areListsDrawn) drawLists();
    if (performance.now() >= curvesDueMs) drawCurves();
    else curvesTimer ??= setTimeout(drawDueCurves, curvesDueMs - performance.now());
  });
}

function drawLists(): void {
  drawEvents(byId('events'), known());
  drawSamples(byId('samples'), known());
  areListsDrawn = true;
}

function drawDueCurves(): void {
  curvesTimer = undefined;
  draw();
}

function drawCurves(): void {
  clearTimeout(curvesTimer);
  curvesTimer = undefined;
  charts.draw(known(), { logarithmic: isChecked('log'), smooth: isChecked('smooth') });
  curvesDueMs = performance.now() + curvesEveryMs;
}

function known(): RunState[] {
  return runs.filter((run) => run !== undefined);
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

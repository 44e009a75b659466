/** What is beside the curves: numbers, the parts of a step, events, samples. */
import { duration, element, fixed, short } from './format.ts';
import type { RunState } from './runState.ts';

const phases = [
  ['dataWaitMs', 'data wait'],
  ['forwardBackwardMs', 'forward and backward'],
  ['ringWaitMs', 'ring wait'],
  ['commitWaitMs', 'commit wait'],
  ['optimizerMs', 'optimizer'],
] as const;
/** 100,000 of 100,000; 2.4586 at 100,000. */
const longTiles: ReadonlySet<string> = new Set(['Step', 'Best val loss']);
const svgNamespace = 'http://www.w3.org/2000/svg';

export function drawTiles(parent: HTMLElement, runs: readonly RunState[]): void {
  parent.replaceChildren(
    ...runs.map((run, i) => {
      const { newest } = run;
      const validation = run.validations.at(-1);
      const heading = element('h2', `series-${i % 6}`, element('span', 'swatch'), run.name, ' ');
      heading.append(element('small', '', stateOf(run)));
      const tiles = [
        ['Step', `${short(newest?.step)}${run.maxSteps === undefined ? '' : ` of ${short(run.maxSteps)}`}`],
        ['Loss', fixed(newest?.loss, 4)],
        ['Val loss', fixed(validation?.valLoss, 4)],
        ['Best val loss', bestOf(run)],
        ['Bits/byte', fixed(validation?.valBitsPerByte, 4)],
        ['Tokens/s', short(run.tokensPerSecond)],
        ['MFU', run.mfu === undefined ? '–' : `${(100 * run.mfu).toFixed(1)} %`],
        ['Tokens', short(newest?.tokens)],
        ['Workers', String(newest?.ranks?.length ?? newest?.rankSummary?.count ?? '–')],
        ...(run.isRunning ? [['Time left', timeLeft(run)]] : []),
      ].map(([name = '', value = '']) => tile(name, value));
      return element('div', 'run', heading, ...tiles);
    }),
  );
}

function tile(name: string, value: string): HTMLElement {
  return element('dl', longTiles.has(name) ? 'tile long' : 'tile', element('dt', '', name), element('dd', '', value));
}

/** As its last event of that kind says. */
export function stateOf({ isRunning, events, newest, maxSteps }: RunState): string {
  if (isRunning) return 'running';
  const end = events.findLast(({ event }) => event === 'finished' || event === 'failed' || event === 'term');
  if (end === undefined || end.event === 'term') return 'not running';
  return end.event === 'finished' && (newest?.step ?? 0) < (maxSteps ?? 0) ? 'stopped' : end.event;
}

/** Which checkpoint to take, and whether the model has got worse since. */
function bestOf({ best }: RunState): string {
  return best === undefined ? '–' : `${fixed(best.valLoss, 4)} at ${short(best.step)}`;
}

function timeLeft(run: RunState): string {
  const { newest, maxSteps, tokensPerSecond } = run;
  if (newest === undefined || maxSteps === undefined || tokensPerSecond === undefined) return '–';
  return duration(((maxSteps - newest.step) * (newest.tokens / newest.step)) / tokensPerSecond);
}

/** A bar for each rank of each run's newest step, or for the median and the slowest of many, all on one scale; beside the names of the parts their means over the ranks. */
export function drawTimeline(parent: HTMLElement, legend: HTMLElement, runs: readonly RunState[]): void {
  const rows = runs.flatMap(({ name, newest }) => {
    const { ranks = [], rankSummary } = newest ?? {};
    const rows = [
      ...ranks.map((rank) => ({ ...rank, who: `rank ${rank.rank}` })),
      ...(rankSummary === undefined ? [] : [{ ...rankSummary.median, who: `median of ${rankSummary.count} ranks` }]),
      ...(rankSummary?.slowest === undefined
        ? []
        : [{ ...rankSummary.slowest, who: `slowest: rank ${rankSummary.slowest.rank}` }]),
    ];
    return rows.map(({ who, ...row }) => {
      const parts = phases.map(([key]) => row[key] ?? 0);
      const label = runs.length > 1 ? `${name}, ${who}` : `${who}, ${row.sampleCount} samples`;
      return { label, parts, total: parts.reduce((sum, ms) => sum + ms, 0) };
    });
  });
  legend.replaceChildren(
    ...phases.map(([, name], i) => {
      const mean = rows.reduce((sum, { parts }) => sum + (parts[i] ?? 0), 0) / rows.length;
      const number = element('b', '', rows.length === 0 ? '–' : fixed(mean, 1));
      return element('span', '', element('i', `swatch phase-${i}`), name, ' ', number);
    }),
  );
  const longest = Math.max(...rows.map(({ total }) => total), 1e-9);
  parent.replaceChildren(
    ...rows.map(({ label, parts, total }) => {
      const text = phases.map(([, name], i) => `${name} ${fixed(parts[i], 1)} ms`).join(', ');
      return element(
        'div',
        'bar-row',
        labelOf(label),
        bar(parts, longest, text),
        element('span', '', `${fixed(total, 1)} ms`),
      );
    }),
  );
  if (rows.length === 0) parent.append(element('p', 'empty', 'No step yet.'));
}

/** On one line, whatever its length. */
function labelOf(text: string): HTMLElement {
  const label = element('span', '', text);
  label.title = text;
  return label;
}

function bar(parts: readonly number[], longest: number, text: string): SVGElement {
  const svg = document.createElementNS(svgNamespace, 'svg');
  svg.setAttribute('viewBox', '0 0 1000 10');
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', text);
  const title = document.createElementNS(svgNamespace, 'title');
  title.textContent = text;
  svg.append(title);
  let from = 0;
  for (const [i, ms] of parts.entries()) {
    const width = (ms / longest) * 1_000;
    const part = document.createElementNS(svgNamespace, 'rect');
    for (const [name, value] of Object.entries({ x: from, y: 0, width, height: 10 }))
      part.setAttribute(name, String(value));
    part.setAttribute('class', `phase-${i}`);
    svg.append(part);
    from += width;
  }
  return svg;
}

export function drawEvents(parent: HTMLElement, runs: readonly RunState[]): void {
  const all = runs.flatMap(({ name, events }) => events.map((event) => ({ name, ...event })));
  all.sort((a, b) => (a.time < b.time ? 1 : -1));
  parent.replaceChildren(
    ...all.map(({ name, time, event, reason, action }) => {
      const when = element('time', '', new Date(time).toLocaleTimeString());
      when.dateTime = time;
      const isBad = event === 'lost' || event === 'failed' || event === 'warning';
      const text = `${runs.length > 1 ? `${name}: ` : ''}${reason}${action === undefined ? '' : `; ${action}`}`;
      return element('li', '', when, element('span', isBad ? 'bad' : '', text));
    }),
  );
  if (all.length === 0) parent.append(element('li', 'empty', 'Nothing happened yet.'));
}

export function drawSamples(parent: HTMLElement, runs: readonly RunState[]): void {
  const all = runs.flatMap(({ name, samples }) => samples.map((sample) => ({ name, ...sample }))).reverse();
  parent.replaceChildren(
    ...all.map(({ name, step, prompt, text }) => {
      // The text may or may not begin with the prompt that it continues.
      const rest = text.startsWith(prompt) ? text.slice(prompt.length) : text;
      const heading = `${runs.length > 1 ? `${name}, ` : ''}step ${short(step)}`;
      return element('div', '', element('strong', '', heading), element('pre', '', element('b', '', prompt), rest));
    }),
  );
  if (all.length === 0) parent.append(element('p', 'empty', 'A sample is generated from each checkpoint.'));
}

export function drawConfigs(parent: HTMLElement, configs: readonly { name: string; config: string }[]): void {
  parent.replaceChildren(
    ...configs.map(({ name, config }) => {
      const details = element('details', '', element('summary', '', name), element('pre', '', config));
      details.open = false;
      return details;
    }),
  );
}

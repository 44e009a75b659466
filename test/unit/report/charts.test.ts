/** Charts: ticks, scales, what is escaped, that SVG is XML by an independent parser, and that a PNG is one. */
import { XMLParser, XMLValidator } from 'fast-xml-parser';
import { describe, expect, it } from 'vitest';
import { axisOf, numberLabel } from '../../../src/report/axes.ts';
import { barChart } from '../../../src/report/barChart.ts';
import { downsample } from '../../../src/report/downsample.ts';
import { type LineChartSpec, lineChart } from '../../../src/report/lineChart.ts';
import { escaped } from '../../../src/report/markup.ts';
import { pngOf } from '../../../src/report/png.ts';

const labels = (...args: Parameters<typeof axisOf>) => axisOf(...args).ticks.map(({ label }) => label);

describe('axes', () => {
  it('labels round numbers, about as many as asked, and reaches beyond the data to the next', () => {
    expect(labels({ label: '' }, [1.87, 4.3], [0, 100], 6)).toEqual(['1.5', '2', '2.5', '3', '3.5', '4', '4.5']);
    const axis = axisOf({ label: '' }, [1.87, 4.3], [200, 0], 6);
    expect(axis.place(1.5)).toBe(200);
    expect(axis.place(4.5)).toBe(0);
    expect(axis.place(3)).toBe(100);
  });

  it('is logarithmic: equal ratios are equal distances, and what is not above 0 counts for nothing', () => {
    const axis = axisOf({ label: '', isLog: true }, [0, -3, 12, 90_000], [0, 100], 6);
    expect(axis.ticks.map(({ label }) => label)).toEqual(['10', '100', '1,000', '10k', '100k']);
    expect(axis.place(1_000) - axis.place(100)).toBeCloseTo(axis.place(100_000) - axis.place(10_000), 9);
    expect(axis.place(10)).toBeCloseTo(0, 9);
    expect(labels({ label: '', isLog: true }, [480, 3_200], [0, 1], 6)).toEqual([
      '200',
      '500',
      '1,000',
      '2,000',
      '5,000',
    ]);
  });

  it('takes given ticks, a single value, no value and values that are not finite', () => {
    expect(labels({ label: '', isLog: true, ticks: [1, 2, 8] }, [2], [0, 1], 6)).toEqual(['1', '2', '8']);
    for (const values of [[5], [0], [-2], [], [Number.NaN, Number.POSITIVE_INFINITY]]) {
      for (const isLog of [false, true]) {
        const axis = axisOf({ label: '', isLog }, values, [0, 100], 6);
        expect(axis.ticks.length, `${values} ${isLog}`).toBeGreaterThanOrEqual(2);
        for (const { at } of axis.ticks) expect(at).toBeGreaterThanOrEqual(-1e-6);
      }
    }
    expect(labels({ label: '', isPercent: true, include: [0] }, [1], [0, 1], 5)).toContain('60 %');
  });

  it('writes numbers short', () => {
    expect([0, 0.25, -3, 1_500, 20_000, 124e6, 3e9, 6e-4, 6e-5, 1.23456e-5].map(numberLabel)).toEqual([
      '0',
      '0.25',
      '-3',
      '1,500',
      '20k',
      '124M',
      '3G',
      '0.0006',
      '6e-5',
      '1.23e-5',
    ]);
  });
});

describe('escaped', () => {
  it('leaves nothing that XML would take for markup, or cannot have', () => {
    expect(escaped(`<a b="c" d='e'>&`)).toBe('&lt;a b=&quot;c&quot; d=&#39;e&#39;&gt;&amp;');
    expect(escaped('a\u0000b\uD800c\uFFFFd\n😀')).toBe('a\uFFFDb\uFFFDc\uFFFDd\n😀');
  });
});

describe('downsample', () => {
  it('keeps few points as they are', () => {
    const points = [[1, 2] as const];
    expect(downsample(points)).toBe(points);
  });

  it('keeps the ends, the order and every peak of many', () => {
    const points = Array.from({ length: 100_000 }, (_, i) => [i, Math.sin(i / 5_000)] as [number, number]);
    points[77_777]![1] = 50;
    points[12_345]![1] = -50;
    points[500]![1] = Number.NaN;
    const kept = downsample(points, 1_000);
    expect(kept.length).toBeLessThanOrEqual(1_000);
    expect(kept.length).toBeGreaterThan(900);
    expect(kept[0]).toEqual(points[0]);
    expect(kept.at(-1)).toEqual(points.at(-1));
    expect(kept).toContainEqual([77_777, 50]);
    expect(kept).toContainEqual([12_345, -50]);
    expect(kept.map(([x]) => x)).toEqual(kept.map(([x]) => x).toSorted((a, b) => a - b));
    expect(kept.every(([, y]) => Number.isFinite(y))).toBe(true);
  });
});

const spiteful = `</text><script>alert("1")</script>&amp;`;
const spec: LineChartSpec = {
  title: spiteful,
  subtitle: 'of two runs',
  x: { label: 'step' },
  y: { label: spiteful },
  series: [
    {
      name: spiteful,
      points: [
        [1, 3],
        [2, Number.NaN],
        [3, 1],
      ],
    },
    { name: 'b', points: [[1, 2]], hasDots: true },
    { name: 'c', points: [] },
  ],
  marks: [
    { x: 2, label: spiteful },
    { x: 900, label: 'outside' },
  ],
};

const parser = new XMLParser({ ignoreAttributes: false, attributeNamePrefix: '' });

describe('charts', () => {
  it.each([
    ['lines', lineChart(spec)],
    ['lines in a page', lineChart(spec, { inPage: true })],
    ['nothing', lineChart({ ...spec, series: [], marks: [] })],
    [
      'bars',
      barChart({
        title: spiteful,
        xLabel: 'rank',
        y: { label: 'ms' },
        parts: [spiteful, 'b'],
        series: [3, 0],
        bars: [{ name: '0', values: [1, Number.NaN] }],
      }),
    ],
  ])('%s: well-formed XML that asks for nothing and runs nothing', (what, svg) => {
    expect(XMLValidator.validate(svg)).toBe(true);
    const root = (parser.parse(svg) as { svg: Record<string, unknown> }).svg;
    expect(root).not.toHaveProperty('script');
    expect(root['aria-label']).toBe(spiteful);
    expect(svg).not.toMatch(/href|url\(|@import/);
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
    expect(svg.includes('<style>')).toBe(what !== 'lines in a page');
  });

  it('breaks a line where a value is missing, and draws a single point as a dot', () => {
    const svg = lineChart({ ...spec, marks: [] });
    const [broken] = [...svg.matchAll(/<path d="([^"]*)" fill="none"/g)].map(([, d]) => d);
    expect(broken?.match(/M/g)).toHaveLength(2);
    expect(svg.match(/<circle/g)).toHaveLength(1);
  });

  it('stacks bars to the height of their sum', () => {
    const svg = barChart({
      title: 't',
      xLabel: 'x',
      y: { label: 'ms' },
      parts: ['a', 'b'],
      series: [3, 0],
      bars: [
        { name: '0', values: [2, 3] },
        { name: '1', values: [5] },
      ],
    });
    const heights = [...svg.matchAll(/height="([\d.]+)" class="ls-f-\d" [^>]*><title>/g)].map(([, height]) =>
      Number(height),
    );
    expect(heights).toHaveLength(3);
    expect(heights[0]! + heights[1]!).toBeCloseTo(heights[2]!, 0);
  });
});

describe('pngOf', () => {
  it('is a PNG of twice the size, with text on a machine without fonts', async () => {
    const titled = lineChart({ ...spec, title: 'A title' });
    const png = Buffer.from(await pngOf(titled));
    expect(png.subarray(0, 8).toString('hex')).toBe('89504e470d0a1a0a');
    expect(png.subarray(12, 16).toString('latin1')).toBe('IHDR');
    expect([png.readUInt32BE(16), png.readUInt32BE(20)]).toEqual([1_520, 840]);
    // Were the font not found, all titles would look alike.
    expect(png).not.toEqual(Buffer.from(await pngOf(titled.replace('>A title<', '>B title<'))));
  });
});

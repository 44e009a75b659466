/// <reference lib="dom" />
/**
 * Compares the pages of dashboard, report and serve, at desktop and phone width, with reference layouts. After an intended change, run
 * LOCKSTEP_UPDATE_LAYOUT=1 npx vitest run --project e2e test/e2e/layout, and look at the pictures in fixtures/.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Dashboard } from '../../../src/dashboard/server.ts';
import { readRun } from '../../../src/records/runRecord.ts';
import { writeRunReport } from '../../../src/report/runReport.ts';
import { loadModel } from '../../../src/run/loadModel.ts';
import { ModelServer } from '../../../src/serve/server.ts';
import { trainRun } from '../../unit/run/trainedModel.ts';
import { hasBrowser, phone, useBrowser } from '../browser.ts';
import { writeFixedRun } from './fixedRun.ts';
import { fixFont, isUpdate, layoutDifferences } from './layoutReference.ts';

interface Shown {
  /** Brings the page into the state that is compared. */
  readonly ready: (page: Page) => Promise<void>;
  readonly selectors: readonly string[];
}

/** Charts are drawn when they come into view. */
async function drawCharts(page: Page): Promise<void> {
  for (const chart of await page.locator('.chart canvas').all()) {
    await chart.scrollIntoViewIfNeeded();
    const isDrawn = () =>
      chart.evaluate((canvas: HTMLCanvasElement) =>
        canvas
          .getContext('2d')!
          .getImageData(0, 0, canvas.width, canvas.height)
          .data.some((value) => value !== 0),
      );
    await expect.poll(isDrawn).toBe(true);
  }
}

const pages = {
  dashboard: {
    ready: async (page) => {
      await page.waitForFunction(() => document.title.startsWith('120 '));
      await expect.poll(() => page.locator('.chart canvas').count()).toBe(6);
      await drawCharts(page);
    },
    selectors: [
      ...['header', 'h1', '#state', '.options', '#tiles', '.run', '.tile', '.row', '.panel', '.chart', '.lines'],
      ...['#samples pre', '#legend', '.bar-row', '.bar-row svg', '#events li', '#configs details'],
    ],
  },
  report: {
    ready: async (page) => {
      await page.getByRole('heading', { name: 'Timings' }).waitFor();
    },
    selectors: ['h1', 'h2', '.charts', 'figure', 'figure svg', 'section', '.scroll', 'table', 'details', 'pre'],
  },
  serve: {
    ready: async (page) => {
      await page.waitForFunction(() => document.title.startsWith('tiny'));
      await page.getByRole('textbox', { name: 'Text', exact: true }).fill('the cat sat on the mat, as ever.');
      await page.getByLabel('Top p').fill('5');
      await page.getByRole('button', { name: 'Continue' }).click();
      await page.waitForFunction(() => document.getElementById('problem')?.textContent !== '');
      await page.mouse.move(0, 0);
      await page.evaluate(() => (document.activeElement as HTMLElement).blur());
    },
    selectors: [
      'header',
      'h1',
      '#state',
      '.panel',
      'h2',
      'textarea',
      '.buttons',
      'button',
      '#problem',
      '.options label',
      'input',
    ],
  },
} as const satisfies Record<string, Shown>;

const widths = {
  desktop: { viewport: { width: 1_280, height: 900 }, colorScheme: 'light' },
  phone: { ...phone, colorScheme: 'dark' },
} as const;

describe.skipIf(!hasBrowser)('layout', () => {
  const openPage = useBrowser();
  const urls: Record<string, string> = {};
  const ends: (() => Promise<void>)[] = [];
  beforeAll(async () => {
    const folder = mkdtempSync(join(tmpdir(), 'lockstep-layout-'));
    ends.push(async () => rmSync(folder, { recursive: true }));
    const run = join(folder, 'fixed');
    writeFixedRun(run);
    const onWarning = (message: string) => expect.unreachable(message);
    const dashboard = await Dashboard.open({ runDirs: [run], host: '127.0.0.1', port: 0, onWarning });
    ends.push(() => dashboard.close());
    const report = join(folder, 'report.html');
    await writeRunReport(report, { ...(await readRun(run)), path: '/home/me/runs/fixed' }, [['processor', 'any']]);
    await (await trainRun(join(folder, 'tiny'))).dispose();
    const loaded = await loadModel({ path: 'tiny', cwd: folder, engine: { name: 'auto' }, onWarning });
    ends.push(() => loaded.engine.dispose());
    const limits = { batchMax: 4, queueMax: 4 };
    const server = await ModelServer.open(loaded, {
      host: '127.0.0.1',
      port: 0,
      modelName: 'tiny',
      onWarning,
      ...limits,
    });
    ends.push(() => server.close(0));
    Object.assign(urls, { dashboard: dashboard.url, report: pathToFileURL(report).href, serve: server.urls.here });
  });
  afterAll(async () => {
    for (const end of ends.toReversed()) await end();
  });

  async function open(name: keyof typeof pages, width: keyof typeof widths): Promise<Page> {
    // The pages' security policies would refuse the style sheet with the font.
    const fixed = { bypassCSP: true, locale: 'en-US', timezoneId: 'UTC', reducedMotion: 'reduce' } as const;
    const { page } = await openPage(urls[name]!, { ...widths[width], ...fixed });
    await fixFont(page);
    await pages[name].ready(page);
    return page;
  }

  it.each([
    ['dashboard', 'desktop'],
    ['dashboard', 'phone'],
    ['report', 'desktop'],
    ['report', 'phone'],
    ['serve', 'desktop'],
    ['serve', 'phone'],
  ] as const)('of %s on a %s is as it was', async (name, width) => {
    const page = await open(name, width);
    expect(await layoutDifferences(page, `${name}-${width}`, pages[name].selectors)).toEqual([]);
    await page.close();
  });

  it.skipIf(isUpdate).each([
    ['dashboard', 'desktop', '.row{display:block!important}', /^\.panel 0: x, y/],
    ['report', 'phone', 'figure .narrow{display:none!important}', /^figure svg \d+: is gone/],
    ['serve', 'phone', 'main{grid-template-columns:1fr 1fr!important}', /^textarea 0: x, y/],
  ] as const)('of %s on a %s is seen to differ when %s', async (name, width, rule, first) => {
    const page = await open(name, width);
    await page.addStyleTag({ content: rule });
    const differences = await layoutDifferences(page, `${name}-${width}`, pages[name].selectors);
    expect(differences).toContainEqual(expect.stringMatching(first));
    expect(differences.at(-1)).toMatch(/% of the pixels differ/);
    await page.close();
  });
});

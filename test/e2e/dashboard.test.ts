/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/** The dashboard in a real browser: headless Chromium, where it is installed. Screenshots are left in build/screenshots. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Page } from 'playwright-core';
import { describe, expect, it } from 'vitest';
import { hasBrowser, phone, screenshots, useBrowser } from './browser.ts';
import { launch, metricsOf, set, start, tiny, useFolder } from './launch.ts';

const folder = useFolder();

describe.skipIf(!hasBrowser)('the dashboard in Chromium', () => {
  const openPage = useBrowser();

  const tile = (page: Page, name: string) =>
    page
      .locator('dl.tile', { has: page.getByText(name, { exact: true }) })
      .locator('dd')
      .first();

  async function stepOf(page: Page): Promise<number> {
    return Number((await tile(page, 'Step').textContent())?.split(' of ')[0]?.replaceAll(',', ''));
  }

  /** Looks at each chart, until something is drawn on its canvas; they are drawn when they come into view. */
  async function expectDrawnCharts(page: Page, count: number): Promise<void> {
    const charts = await page.locator('.chart canvas').all();
    expect(charts).toHaveLength(count);
    for (const chart of charts) {
      await chart.scrollIntoViewIfNeeded();
      await expect
        .poll(() =>
          chart.evaluate((canvas: HTMLCanvasElement) => {
            const { data } = canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height);
            return data.some((value) => value !== 0);
          }),
        )
        .toBe(true);
    }
  }

  /** Places where a row of the page ends before its right edge, or is cut by it. */
  function holes(page: Page): Promise<string[]> {
    return page.evaluate(() =>
      [...document.querySelectorAll('.row, .run')].flatMap((row) => {
        const edge = row.getBoundingClientRect().right;
        const rights = new Map<number, number>();
        for (const child of row.children) {
          const { top, right } = child.getBoundingClientRect();
          rights.set(Math.round(top), Math.max(rights.get(Math.round(top)) ?? 0, right));
        }
        return [...rights].flatMap(([top, right]) =>
          Math.abs(right - edge) <= 1 ? [] : [`${row.className} at ${top}`],
        );
      }),
    );
  }

  /** The number of lines that each legend takes. */
  function linesOf(page: Page, selector: string): Promise<number[]> {
    return page.evaluate(
      (wanted) =>
        [...document.querySelectorAll(wanted)].map((box) => {
          const tops = [...box.children].map((child) => Math.round(child.getBoundingClientRect().top));
          return new Set(tops).size;
        }),
      selector,
    );
  }

  async function expectAboveTheFold(page: Page, selector: string): Promise<void> {
    await page.evaluate(() => scrollTo(0, 0));
    const box = await page.locator(selector).first().boundingBox();
    expect(box!.y + 40).toBeLessThan(page.viewportSize()!.height);
  }

  /** Points at the loss at many steps: what is said of a validation there is what `valLosses` has, by step. */
  async function expectOwnValidations(page: Page, valLosses: ReadonlyMap<number, number>): Promise<void> {
    const chart = page.locator('#loss .u-over');
    await chart.scrollIntoViewIfNeeded();
    const { x, y, width, height } = (await chart.boundingBox())!;
    for (let share = 0.05; share < 1; share += 0.05) {
      await page.mouse.move(x + share * width, y + height / 2);
      const pointed = page.locator('#loss .pointed');
      await expect.poll(() => pointed.textContent()).toMatch(/^step /);
      const own = valLosses.get(Number((await pointed.textContent())?.replace(/\D/g, '')));
      const shown = await page.locator('#loss .line', { hasText: 'validation' }).locator('b').textContent();
      expect(shown).toBe(own === undefined ? '–' : String(Number(own.toPrecision(4))));
    }
    await page.mouse.move(0, 0);
  }

  it('follows a run of four workers, live, to its end', async () => {
    const options = [
      ...tiny,
      'train.maxSteps=100000',
      'eval.everySteps=20',
      'checkpoint.everySteps=50',
      'sample.maxTokens=20',
    ];
    const run = start(['--workers', '4', '--dashboard', '0', '--run-dir', 'live', ...set(...options)], folder());
    const [, url = ''] = await run.printed(/^dashboard (http:\/\/127\.0\.0\.1:\d+\/)$/m);
    const { page, complaints, hosts } = await openPage(url);
    await page.getByText('Where a step').waitFor();
    await page.waitForFunction(() => /[1-9]/.test(document.title));
    const first = await stepOf(page);
    await page.waitForFunction((before) => Number.parseInt(document.title, 10) > before + 20, first);
    expect(await stepOf(page)).toBeGreaterThan(first);
    // Made beside four busy workers, at a low priority.
    await page.locator('#samples pre').first().waitFor({ timeout: 240_000 });
    await expectDrawnCharts(page, 6);
    expect(await tile(page, 'Workers').textContent()).toBe('4');
    expect(await page.locator('.bar-row').count()).toBe(4);
    const heights = await page.locator('.bar-row span').evaluateAll((all) => all.map((one) => one.clientHeight));
    expect(Math.max(...heights), 'one line for each worker').toBeLessThan(30);
    expect(Number(await tile(page, 'Val loss').textContent())).toBeGreaterThan(0);
    expect(await tile(page, 'Best val loss').textContent()).toMatch(/^\d\.\d{4} at \d/);
    expect(await page.locator('.chart .line b').allTextContents()).not.toContain('–');
    expect(await holes(page)).toEqual([]);
    await expectAboveTheFold(page, '#samples pre');
    expect(await page.locator('#events li').allTextContents()).toContainEqual(
      expect.stringMatching(/local-0003.* joined/),
    );
    await page.getByText('live', { exact: true }).last().click();
    await expect.poll(() => page.locator('#configs pre').textContent()).toContain('maxSteps: 100000');
    await page.screenshot({ path: join(screenshots, 'dashboard-light.png'), fullPage: true });

    run.process.kill('SIGINT');
    await expect.poll(() => page.locator('#state').textContent()).toBe('the run has ended; what you see is its end');
    expect(await page.locator('.run h2 small').textContent()).toBe('stopped');
    const lines = await metricsOf(join(folder(), 'live'));
    const valLosses = lines.flatMap(({ step, valLoss }) => (valLoss === undefined ? [] : [[step, valLoss] as const]));
    await expectOwnValidations(page, new Map(valLosses));
    expect(await run.finished).toMatchObject({ code: 130, stderr: '' });
    expect(await run.descendants()).toEqual([]);
    expect(complaints).toEqual([]);
    expect([...hosts]).toEqual([new URL(url).host]);
    await page.close();
  });

  it('shows finished runs, one over the other, in the dark, on a phone', async () => {
    for (const [name, seed] of [
      ['a', 1],
      ['b', 2],
    ] as const) {
      const options = set(...tiny, 'train.maxSteps=30', `train.seed=${seed}`);
      expect((await launch(['--workers', '1', '--run-dir', name, ...options], folder())).code).toBe(0);
    }
    const server = start(['dashboard', 'a', 'b', '--port', '0'], folder());
    const [, url = ''] = await server.printed(/^dashboard (\S+) \(/m);
    const { page, complaints } = await openPage(url, { ...phone, colorScheme: 'dark' });
    await page.getByText('finished').nth(1).waitFor();
    expect(await page.locator('.run').count()).toBe(2);
    expect(await page.locator('.line').allTextContents()).toContainEqual(expect.stringMatching(/^b, validation/));
    await page.getByLabel('loss on a logarithmic axis').check();
    await page.getByLabel('smooth').check();
    await expectDrawnCharts(page, 6);
    const { width, colour } = await page.evaluate(() => {
      return { width: document.documentElement.scrollWidth, colour: getComputedStyle(document.body).backgroundColor };
    });
    expect(width).toBeLessThanOrEqual(phone.viewport.width);
    expect(colour).toBe('rgb(13, 17, 23)');
    expect(Math.max(...(await linesOf(page, '.lines, #legend')))).toBeLessThan(4);
    expect(await holes(page)).toEqual([]);
    await page.screenshot({ path: join(screenshots, 'dashboard-phone-dark.png'), fullPage: true });

    server.process.kill('SIGTERM');
    expect(await server.finished).toMatchObject({ code: 130, stderr: '' });
    expect(complaints).toEqual([]);
    await page.close();
  });

  it('the report of a run fits a phone: no chart is cut, and its letters can be read', async () => {
    const options = set(...tiny, 'train.maxSteps=30', 'eval.everySteps=10');
    expect(
      (await launch(['--workers', '2', '--run-dir', 'a-run-with-a-name-that-is-long', ...options], folder())).code,
    ).toBe(0);
    expect((await launch(['report', 'a-run-with-a-name-that-is-long', '--out', 'report.html'], folder())).code).toBe(0);
    const url = pathToFileURL(join(folder(), 'report.html')).href;
    for (const [width, scheme] of [
      [390, 'light'],
      [1_280, 'dark'],
    ] as const) {
      const { page, complaints } = await openPage(url, { viewport: { width, height: 844 }, colorScheme: scheme });
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
      const charts = await page.locator('figure svg:visible').evaluateAll((all) =>
        all.map((svg) => {
          const { left, right, width: shown } = svg.getBoundingClientRect();
          const figure = svg.closest('figure')!.getBoundingClientRect();
          const scale = shown / Number(svg.getAttribute('width'));
          return { isWhole: left >= figure.left && right <= figure.right, lettersPx: 12 * scale };
        }),
      );
      expect(charts.length).toBeGreaterThan(4);
      for (const { isWhole, lettersPx } of charts) {
        expect(isWhole).toBe(true);
        expect(lettersPx).toBeGreaterThan(9);
      }
      const tables = await page
        .locator('.scroll')
        .evaluateAll((all) => all.map((box) => box.scrollWidth - box.clientWidth));
      expect(Math.max(...tables), 'nothing has to be moved sideways').toBeLessThanOrEqual(0);
      await page.screenshot({ path: join(screenshots, `report-${width}.png`), fullPage: true });
      expect(complaints).toEqual([]);
      await page.close();
    }
  });

  it('says that the connection is lost, and comes back by itself', async () => {
    // An engine that does not know what its machine can do: no MFU.
    const options = set(...tiny, 'train.maxSteps=5', 'engine.name=tfjs');
    expect((await launch(['--workers', '1', '--run-dir', 'short', ...options], folder())).code).toBe(0);
    const first = start(['dashboard', 'short', '--port', '0'], folder());
    const [, url = ''] = await first.printed(/^dashboard (\S+) \(/m);
    const { page } = await openPage(url);
    await page.waitForFunction(() => document.title.startsWith('5 '));
    await expectDrawnCharts(page, 5);
    expect(await tile(page, 'MFU').textContent()).toBe('–');
    // As many charts as fill no row, and on a phone.
    for (const [width, height] of [
      [1_700, 1_000],
      [390, 844],
    ] as const) {
      await page.setViewportSize({ width, height });
      await expectAboveTheFold(page, '#samples');
      expect(await holes(page)).toEqual([]);
    }
    first.process.kill('SIGKILL');
    await first.finished;
    await expect.poll(() => page.locator('#state').textContent()).toMatch(/connection is lost/);
    const again = start(['dashboard', 'short', '--port', new URL(url).port], folder());
    await expect.poll(() => page.locator('#state').textContent(), { timeout: 20_000 }).toBe('no active run');
    again.process.kill('SIGINT');
    await again.finished;
    await page.close();
  });
});

describe('launch dashboard', () => {
  it('has a sample of a checkpoint, though newer ones replace it before it is read', async () => {
    const options = ['train.maxSteps=100000', 'checkpoint.everySteps=2', 'checkpoint.keep=1', 'sample.maxTokens=5'];
    const runDir = join(folder(), 'brief');
    const run = start(
      ['--workers', '1', '--dashboard', '0', '--run-dir', runDir, ...set(...tiny, ...options)],
      folder(),
    );
    const sampled = () => readFile(join(runDir, 'samples.jsonl'), 'utf8').catch(() => '');
    await expect.poll(sampled, { timeout: 120_000 }).toMatch(/\n/);
    run.process.kill('SIGINT');
    expect(await run.finished).toMatchObject({ code: 130, stderr: '' });
    expect(await readdir(join(runDir, 'checkpoints')), 'what was held is gone').toHaveLength(1);
  });

  it('refuses a folder that is not a run, and an invalid port', async () => {
    const absent = await launch(['dashboard', 'absent'], folder());
    expect(absent).toMatchObject({ code: 2 });
    expect(absent.stderr).toMatch(/absent is not a run directory: config\.yaml not found/);
    const port = await launch(['--dashboard', '99999', '--run-dir', 'not-begun', ...set(...tiny)], folder());
    expect(port).toMatchObject({ code: 2 });
    expect(port.stderr).toMatch(/dashboard port: expected a whole number from 0 to 65535/);
    expect(await readdir(folder())).not.toContain('not-begun');
  });
});

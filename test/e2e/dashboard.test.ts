/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/** The dashboard in a real browser: headless Chromium, where it is installed. Screenshots are left in build/screenshots. */
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packageRoot } from '../../src/base/packageRoot.ts';
import { launch, set, start, tiny, useFolder } from './launch.ts';

const executablePath = process.env['CHROMIUM'] ?? '/usr/bin/chromium';
const screenshots = join(packageRoot, 'build', 'screenshots');
const folder = useFolder();
if (!existsSync(executablePath))
  process.stderr.write(`skipped: no browser at ${executablePath} (CHROMIUM=… names another)\n`);

describe.skipIf(!existsSync(executablePath))('the dashboard in Chromium', () => {
  let browser: Browser;
  beforeAll(async () => {
    await mkdir(screenshots, { recursive: true });
    browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
  });
  afterAll(() => browser?.close());

  /** A page, with everything that it complains of and every host that it asks. */
  async function openPage(url: string, options: Parameters<Browser['newPage']>[0] = {}) {
    const page = await browser.newPage(options);
    const complaints: string[] = [];
    const hosts = new Set<string>();
    page.on('console', (message) => {
      if (message.type() !== 'log') complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('request', (request) => {
      if (!request.url().startsWith('data:')) hosts.add(new URL(request.url()).host);
    });
    await page.goto(url);
    return { page, complaints, hosts };
  }

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
    expect(Number(await tile(page, 'Val loss').textContent())).toBeGreaterThan(0);
    expect(await page.locator('#events li').allTextContents()).toContainEqual(
      expect.stringMatching(/local-0003.* joined/),
    );
    await page.getByText('live', { exact: true }).last().click();
    await expect.poll(() => page.locator('#configs pre').textContent()).toContain('maxSteps: 100000');
    await page.screenshot({ path: join(screenshots, 'dashboard-light.png'), fullPage: true });

    run.process.kill('SIGINT');
    await expect.poll(() => page.locator('#state').textContent()).toBe('the run has ended; what you see is its end');
    expect(await page.locator('.run h2 small').textContent()).toBe('stopped');
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
    const viewport = { width: 390, height: 844 };
    const { page, complaints } = await openPage(url, { viewport, colorScheme: 'dark', isMobile: true, hasTouch: true });
    await page.getByText('finished').nth(1).waitFor();
    expect(await page.locator('.run').count()).toBe(2);
    expect(await page.locator('.u-series').allTextContents()).toContainEqual(expect.stringMatching(/^b, validation/));
    await page.getByLabel('loss on a logarithmic axis').check();
    await page.getByLabel('smooth').check();
    await expectDrawnCharts(page, 6);
    const { width, colour } = await page.evaluate(() => {
      return { width: document.documentElement.scrollWidth, colour: getComputedStyle(document.body).backgroundColor };
    });
    expect(width).toBeLessThanOrEqual(viewport.width);
    expect(colour).toBe('rgb(13, 17, 23)');
    await page.screenshot({ path: join(screenshots, 'dashboard-phone-dark.png'), fullPage: true });

    server.process.kill('SIGTERM');
    expect(await server.finished).toMatchObject({ code: 130, stderr: '' });
    expect(complaints).toEqual([]);
    await page.close();
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
    first.process.kill('SIGKILL');
    await first.finished;
    await expect.poll(() => page.locator('#state').textContent()).toMatch(/connection is lost/);
    const again = start(['dashboard', 'short', '--port', new URL(url).port], folder());
    await expect.poll(() => page.locator('#state').textContent(), { timeout: 20_000 }).toBe('no run is going on');
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

  it('refuses what is no run, and a port that is none', async () => {
    const absent = await launch(['dashboard', 'absent'], folder());
    expect(absent).toMatchObject({ code: 2 });
    expect(absent.stderr).toMatch(/expected a run directory with a config\.yaml, found none in .*absent/);
    const port = await launch(['--dashboard', '99999', ...set(...tiny)], folder());
    expect(port).toMatchObject({ code: 2 });
    expect(port.stderr).toMatch(/dashboard port: expected a whole number from 0 to 65535/);
  });
});

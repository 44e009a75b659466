/// <reference lib="dom" />
/** The page of `launch serve` in a real browser: a text is typed, continued, stopped, and what goes wrong is said. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { continueText } from '../../src/run/continueText.ts';
import { type LoadedModel, loadModel } from '../../src/run/loadModel.ts';
import { ModelServer } from '../../src/serve/server.ts';
import { trainRun } from '../unit/run/trainedModel.ts';
import { hasBrowser, phone, screenshots, useBrowser } from './browser.ts';

describe.skipIf(!hasBrowser)('the page to type in', () => {
  const openPage = useBrowser();
  let folder = '';
  let loaded: LoadedModel;
  const warnings: string[] = [];
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'lockstep-page-'));
    await (await trainRun(join(folder, 'tiny'))).dispose();
    const onWarning = (message: string) => expect.unreachable(message);
    loaded = await loadModel({ path: 'tiny', cwd: folder, engine: { name: 'auto' }, onWarning });
  });
  afterAll(async () => {
    await loaded?.engine.dispose();
    rmSync(folder, { recursive: true });
    expect(warnings).toEqual([]);
  });

  function serve(host = '127.0.0.1'): Promise<ModelServer> {
    const onWarning = (message: string) => warnings.push(message);
    return ModelServer.open(loaded, { host, port: 0, modelName: 'tiny', onWarning, batchMax: 4, queueMax: 4 });
  }

  const button = (page: Page, name: string) => page.getByRole('button', { name, exact: true });
  const text = (page: Page) => page.getByRole('textbox', { name: 'Text', exact: true });
  const problem = (page: Page) => page.getByRole('alert');

  it('continues a text as generate does, can be stopped and undone, and says what is wrong', async () => {
    const server = await serve();
    const { page, complaints, hosts } = await openPage(server.urls.here);
    await expect.poll(() => page.title()).toBe('tiny – Lockstep');
    await page.getByLabel('Tokens').fill('40');
    await page.getByLabel('Seed').fill('7');
    await text(page).fill('the ');
    await text(page).press('Control+Enter');
    let expected = '';
    const options = { prompt: 'the ', seed: 7, maxTokens: 40, temperature: 0.8, topK: 200, topP: 1 };
    for await (const piece of continueText(loaded, options)) expected += piece;
    await expect.poll(() => text(page).inputValue()).toBe(expected);
    await expect.poll(() => page.getByRole('status').textContent()).toMatch(/^tiny: \d+ pieces, [\d.]+ a second$/);
    await expect.poll(() => button(page, 'Undo').isEnabled()).toBe(true);
    await button(page, 'Undo').click();
    expect(await text(page).inputValue()).toBe('the ');
    expect(await button(page, 'Undo').isDisabled()).toBe(true);

    // Longer than anybody waits: it is stopped.
    await page.getByLabel('Tokens').fill('65536');
    await button(page, 'Continue').click();
    await expect.poll(async () => (await text(page).inputValue()).length).toBeGreaterThan(50);
    expect(await text(page).getAttribute('readonly')).not.toBeNull();
    await button(page, 'Stop').click();
    await button(page, 'Continue').waitFor();
    const { length } = await text(page).inputValue();
    expect(length).toBeLessThan(65_000);
    expect(await problem(page).textContent()).toBe('');
    const health = async () => (await (await fetch(new URL('/health', server.urls.here))).json()) as object;
    await expect.poll(health).toMatchObject({ running: 0, waiting: 0 });
    expect((await text(page).inputValue()).length, 'nothing comes after Stop').toBe(length);
    await button(page, 'Undo').click();
    expect(complaints).toEqual([]);
    expect([...hosts]).toEqual([new URL(server.urls.here).host]);

    await page.getByLabel('Top p').fill('5');
    await button(page, 'Continue').click();
    await expect.poll(() => problem(page).textContent()).toBe('top_p: expected a number from 0.0001 to 1, received 5');
    expect(await button(page, 'Undo').isDisabled()).toBe(true);
    await page.getByLabel('Top p').fill('1');
    await text(page).fill('\u0416');
    await button(page, 'Continue').click();
    await expect.poll(() => problem(page).textContent()).toContain('\u0416');
    await text(page).fill('the ');
    await button(page, 'Continue').click();
    await expect.poll(() => problem(page).textContent()).toBe('');
    await expect.poll(async () => (await text(page).inputValue()).length).toBeGreaterThan(50);
    await server.close(0);
    await expect.poll(() => problem(page).textContent()).toMatch(/connection to the server failed/);
    await button(page, 'Continue').click();
    await expect.poll(() => button(page, 'Continue').isEnabled()).toBe(true);
    await expect.poll(() => problem(page).textContent()).toMatch(/is it still running\?/);
    await page.close();
  });

  it('fits a phone in the dark, and keeps its token where it needs one', async () => {
    const server = await serve('0.0.0.0');
    const { page, complaints } = await openPage(server.urls.here, { ...phone, colorScheme: 'dark' });
    await expect.poll(() => page.title()).toBe('tiny – Lockstep');
    await page.getByLabel('Tokens').fill('20');
    await text(page).fill('the ');
    await button(page, 'Continue').tap();
    await expect.poll(async () => (await text(page).inputValue()).length).toBe(24);
    const { width, colour, cut } = await page.evaluate(() => ({
      width: document.documentElement.scrollWidth,
      colour: getComputedStyle(document.body).backgroundColor,
      cut: [...document.querySelectorAll('button, input, textarea')]
        .filter((one) => one.getBoundingClientRect().right > innerWidth)
        .map(({ id }) => id),
    }));
    expect(width).toBeLessThanOrEqual(phone.viewport.width);
    expect(cut).toEqual([]);
    expect(colour).toBe('rgb(13, 17, 23)');
    // The cookie of the first visit is enough for the next one.
    await page.goto(new URL(server.urls.here).origin);
    await expect.poll(() => page.title()).toBe('tiny – Lockstep');
    await page.screenshot({ path: join(screenshots, 'serve-phone-dark.png'), fullPage: true });
    expect(complaints).toEqual([]);
    await page.close();
    await server.close(0);
  });
});

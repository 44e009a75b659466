/** Headless Chromium, where it is installed, for the tests of pages. */
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll } from 'vitest';
import { packageRoot } from '../../src/base/packageRoot.ts';

const executablePath = process.env['CHROMIUM'] ?? '/usr/bin/chromium';
/** The folder for screenshots. */
export const screenshots = join(packageRoot, 'build', 'screenshots');
export const hasBrowser = existsSync(executablePath);
if (!hasBrowser) process.stderr.write(`skipped: no browser at ${executablePath} (CHROMIUM=… names another)\n`);

export const phone = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true } as const;

/** An open page, with every message on its console and every host that it contacts. */
export interface OpenPage {
  readonly page: Page;
  readonly complaints: string[];
  readonly hosts: Set<string>;
}

export type PageOpener = (url: string, options?: BrowserContextOptions) => Promise<OpenPage>;

/** Starts a browser for the tests of a file or a `describe`. Each page has a context of its own. */
export function useBrowser(): PageOpener {
  let browser: Browser;
  beforeAll(async () => {
    await mkdir(screenshots, { recursive: true });
    browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--font-render-hinting=none'] });
  });
  afterAll(() => browser?.close());
  return async (url, options = {}) => {
    const page = await browser.newPage(options);
    const complaints: string[] = [];
    const hosts = new Set<string>();
    page.on('console', (message) => {
      // The tests, not the page, cause this one by reading canvases.
      const isOurs = message.text().includes('willReadFrequently');
      if (message.type() !== 'log' && !isOurs) complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('request', (request) => {
      if (!request.url().startsWith('data:')) hosts.add(new URL(request.url()).host);
    });
    await page.goto(url);
    return { page, complaints, hosts };
  };
}

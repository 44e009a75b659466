/// <reference lib="dom" />
/// <reference lib="dom.iterable" />
/**
 * Compares a page with its reference: the boxes of named elements, and a small picture. Boxes name what has moved and how far; the picture
 * also covers colours, lines and curves. All text is set in a font of the tests, so the fonts of the machine do not matter. At a quarter of
 * the size, the picture loses the differences in how versions of Chromium smooth letters.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { screenshots } from '../browser.ts';

const folder = join(import.meta.dirname, 'fixtures');
export const isUpdate = process.env['LOCKSTEP_UPDATE_LAYOUT'] === '1';
/** In CSS pixels: rounding may differ between versions of Chromium. */
const boxTolerancePx = 3;
/** Per channel of a pixel, from 0 to 255. */
const colourTolerance = 64;
/** Share of the pixels of the small picture that may differ. */
const pixelShareMax = 0.02;
const pictureScale = 1 / 4;

/** x, y, width and height in CSS pixels, by selector and index of the element. */
type Boxes = Readonly<Record<string, readonly number[]>>;

/** Sets all text in one font, and waits until the font is loaded. */
export async function fixFont(page: Page): Promise<void> {
  const require = createRequire(import.meta.url);
  const face = (weight: string, file: string) => {
    const bytes = readFileSync(file).toString('base64');
    return `@font-face{font-family:Fixed;font-weight:${weight};src:url(data:font/ttf;base64,${bytes})}`;
  };
  const faces =
    face('100 500', require.resolve('@expo-google-fonts/inter/400Regular/Inter_400Regular.ttf')) +
    face('501 900', require.resolve('@expo-google-fonts/inter/600SemiBold/Inter_600SemiBold.ttf'));
  await page.addStyleTag({ content: `${faces}*{font-family:Fixed!important}` });
  await page.evaluate(async () => {
    await Promise.all(['400 15px Fixed', '600 15px Fixed'].map((font) => document.fonts.load(font)));
    await document.fonts.ready;
  });
}

/**
 * Describes the differences from the reference; empty if there are none that anyone would see.
 * @param selectors the elements whose boxes are compared; hidden elements are left out
 */
export async function layoutDifferences(page: Page, name: string, selectors: readonly string[]): Promise<string[]> {
  const boxes = await boxesOf(page, selectors);
  const picture = await smallPicture(page);
  const boxesPath = join(folder, `${name}.json`);
  const picturePath = join(folder, `${name}.png`);
  if (isUpdate || !existsSync(boxesPath)) {
    if (!isUpdate) return [`there is no reference: make it with LOCKSTEP_UPDATE_LAYOUT=1 (${boxesPath})`];
    const lines = Object.entries(boxes).map(([key, box]) => `  ${JSON.stringify(key)}: ${JSON.stringify(box)}`);
    writeFileSync(boxesPath, `{\n${lines.join(',\n')}\n}\n`);
    writeFileSync(picturePath, picture);
    return [];
  }
  const known = JSON.parse(readFileSync(boxesPath, 'utf8')) as Boxes;
  return [
    ...boxDifferences(known, boxes),
    ...(await pictureDifferences(page, name, readFileSync(picturePath), picture)),
  ];
}

function boxesOf(page: Page, selectors: readonly string[]): Promise<Boxes> {
  return page.evaluate((all) => {
    scrollTo(0, 0);
    const boxes: Record<string, number[]> = {};
    for (const selector of all) {
      for (const [i, element] of [...document.querySelectorAll(selector)].entries()) {
        const { x, y, width, height } = element.getBoundingClientRect();
        if (width > 0) boxes[`${selector} ${i}`] = [x, y, width, height].map(Math.round);
      }
    }
    return boxes;
  }, selectors);
}

function boxDifferences(known: Boxes, now: Boxes): string[] {
  return [...new Set([...Object.keys(known), ...Object.keys(now)])].flatMap((key) => {
    const [before, after] = [known[key], now[key]];
    if (before === undefined || after === undefined) return [`${key}: ${before ? 'is gone' : 'is new'}`];
    const isNear = before.every((value, i) => Math.abs(value - after[i]!) <= boxTolerancePx);
    return isNear ? [] : [`${key}: x, y, width, height were ${before.join(', ')}, are ${after.join(', ')}`];
  });
}

/** A PNG of the page, scaled down by the browser. */
async function smallPicture(page: Page): Promise<Buffer> {
  const png = await page.screenshot({ fullPage: true, animations: 'disabled', caret: 'hide' });
  const small = await page.evaluate(
    async ({ data, scale }) => {
      const image = await createImageBitmap(await (await fetch(`data:image/png;base64,${data}`)).blob());
      const canvas = document.createElement('canvas');
      canvas.width = Math.round(image.width * scale);
      canvas.height = Math.round(image.height * scale);
      const context = canvas.getContext('2d')!;
      context.imageSmoothingQuality = 'high';
      context.drawImage(image, 0, 0, canvas.width, canvas.height);
      return canvas.toDataURL('image/png');
    },
    { data: png.toString('base64'), scale: pictureScale },
  );
  return Buffer.from(small.slice(small.indexOf(',') + 1), 'base64');
}

/** If the pictures differ, saves the new one and a picture of the difference beside the other screenshots. */
async function pictureDifferences(page: Page, name: string, known: Buffer, now: Buffer): Promise<string[]> {
  const found = await page.evaluate(
    async ({ pictures, tolerance }) => {
      const images = await Promise.all(
        pictures.map(async (data) => createImageBitmap(await (await fetch(`data:image/png;base64,${data}`)).blob())),
      );
      const width = Math.max(...images.map((image) => image.width));
      const height = Math.max(...images.map((image) => image.height));
      const [before, after] = images.map((image) => {
        const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true })!;
        context.drawImage(image, 0, 0);
        return context.getImageData(0, 0, width, height).data;
      }) as [Uint8ClampedArray, Uint8ClampedArray];
      const canvas = document.createElement('canvas');
      Object.assign(canvas, { width, height });
      const context = canvas.getContext('2d')!;
      const difference = context.createImageData(width, height);
      let count = 0;
      for (let at = 0; at < before.length; at += 4) {
        const isOther = [0, 1, 2, 3].some(
          (channel) => Math.abs(before[at + channel]! - after[at + channel]!) > tolerance,
        );
        if (isOther) count++;
        difference.data.set(isOther ? [255, 0, 0, 255] : [after[at]!, after[at + 1]!, after[at + 2]!, 80], at);
      }
      context.putImageData(difference, 0, 0);
      return { share: count / (width * height), picture: canvas.toDataURL('image/png') };
    },
    { pictures: [known, now].map((png) => png.toString('base64')), tolerance: colourTolerance },
  );
  if (found.share <= pixelShareMax) return [];
  writeFileSync(join(screenshots, `${name}.now.png`), now);
  const path = join(screenshots, `${name}.difference.png`);
  writeFileSync(path, Buffer.from(found.picture.slice(found.picture.indexOf(',') + 1), 'base64'));
  return [
    `${(100 * found.share).toFixed(1)} % of the pixels differ, at most ${100 * pixelShareMax} % may: see ${path}`,
  ];
}

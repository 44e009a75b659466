/**
 * Converts SVG to PNG with resvg, without a browser. Text is set in Inter, so pictures are the same on every machine, even without fonts. The
 * build copies two weights of it from an npm package (scripts/finish-build.mjs).
 */
import { join } from 'node:path';
import { errorCode, messageOf, UserError } from '../base/errors.ts';
import { addPackages } from '../base/installation.ts';
import { packageRoot } from '../base/packageRoot.ts';

const fonts = join(packageRoot, 'dist', 'fonts');

/**
 * @param scale pixels of the PNG to one of the SVG
 * @throws UserError where resvg is not installed, or has no build for this machine
 */
export async function pngOf(svg: string, scale = 2): Promise<Uint8Array> {
  const { Resvg } = await loadResvg();
  const font = {
    fontFiles: [join(fonts, 'Inter_400Regular.ttf'), join(fonts, 'Inter_600SemiBold.ttf')],
    loadSystemFonts: false,
    defaultFontFamily: 'Inter',
  };
  // Its style sheet is for dark backgrounds only.
  const light = svg.replace(/<style>.*?<\/style>/, '');
  return new Resvg(light, { font, fitTo: { mode: 'zoom', value: scale } }).render().asPng();
}

async function loadResvg() {
  try {
    return await import('@resvg/resvg-js');
  } catch (error) {
    if (errorCode(error) === 'ERR_MODULE_NOT_FOUND') {
      const what = 'cannot draw a PNG: @resvg/resvg-js is not installed';
      throw new UserError(
        `${what}; run \`${addPackages(['@resvg/resvg-js@2.6.2'])}\`, or write an SVG: --out FILE.svg`,
      );
    }
    throw new UserError(
      `cannot draw a PNG: @resvg/resvg-js does not load on ${process.platform} ${process.arch} (${messageOf(error)}). ` +
        'Write an SVG instead: --out FILE.svg',
    );
  }
}

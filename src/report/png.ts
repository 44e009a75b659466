/**
 * SVG to PNG by resvg, without a browser. Text is set in Inter, which comes with an npm package, so that pictures are alike on every
 * machine, also where no font is installed.
 */
import { createRequire } from 'node:module';
import { messageOf, UserError } from '../base/errors.ts';

const require = createRequire(import.meta.url);

/**
 * @param scale pixels of the PNG to one of the SVG
 * @throws UserError where resvg has no build for this machine
 */
export async function pngOf(svg: string, scale = 2): Promise<Uint8Array> {
  const { Resvg } = await loadResvg();
  const font = {
    fontFiles: [
      require.resolve('@expo-google-fonts/inter/400Regular/Inter_400Regular.ttf'),
      require.resolve('@expo-google-fonts/inter/600SemiBold/Inter_600SemiBold.ttf'),
    ],
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
    throw new UserError(
      `cannot draw a PNG: @resvg/resvg-js does not load on ${process.platform} ${process.arch} (${messageOf(error)}); ` +
        'write an SVG: --out FILE.svg',
    );
  }
}

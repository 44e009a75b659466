/**
 * The fixed table of positions of the first Transformer ("Attention Is All You Need", section 3.5): wavelengths from 2π to 10000 · 2π in a
 * geometric progression. The sines are in the first half of the channels and the cosines in the second, as in tensor2tensor and MarianMT;
 * the paper's formula alternates them, which is the same for a trained model.
 */

const longestWavelength = 10_000;

/** Fills a table [T, C], row after row: sin and cos of t / 10000^(2i / C), computed in float64. */
export function fillSinusoidal(into: Float32Array, channels: number): void {
  const sines = Math.ceil(channels / 2);
  for (let at = 0; at < into.length; at++) {
    const [position, channel] = [Math.floor(at / channels), at % channels];
    const i = channel < sines ? channel : channel - sines;
    const angle = position / longestWavelength ** ((2 * i) / channels);
    into[at] = channel < sines ? Math.sin(angle) : Math.cos(angle);
  }
}

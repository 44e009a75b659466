/** Decodes bytes as text without silent losses. */

/** The text, or undefined if the bytes are not UTF-8. @param options `ignoreBOM` keeps U+FEFF at the beginning */
export function decodeUtf8(bytes: Uint8Array, options: { ignoreBOM: boolean }): string | undefined {
  try {
    return new TextDecoder('utf-8', { ...options, fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

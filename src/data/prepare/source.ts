import type { Compression, SourceFormat } from './fileKinds.ts';

/** A file or standard input, and how its bytes become documents. */
export interface Source {
  /** Absolute; undefined for standard input. */
  readonly path: string | undefined;
  /** For messages, and to recognise the same input later. */
  readonly name: string;
  readonly format: SourceFormat;
  /** `sniff`: determined from the first bytes. */
  readonly compression: Compression | 'sniff';
  /** Stored size in bytes; 0 for standard input. */
  readonly size: number;
  /** 0 for standard input. */
  readonly mtimeMs: number;
}

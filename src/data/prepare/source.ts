import type { Compression, SourceFormat } from './fileKinds.ts';

/** A file, or standard input, and how its bytes become documents. */
export interface Source {
  /** Absolute; undefined is standard input. */
  readonly path: string | undefined;
  /** For messages, and for telling whether the same is prepared again. */
  readonly name: string;
  readonly format: SourceFormat;
  /** `sniff`: the first bytes say. */
  readonly compression: Compression | 'sniff';
  /** In bytes, as stored; 0 for standard input. */
  readonly size: number;
  /** 0 for standard input. */
  readonly mtimeMs: number;
}

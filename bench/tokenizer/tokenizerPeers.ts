/** Those that `npm run bench -- tokenizer` times: our tokenizers and other libraries', each behind one interface. */
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import { z } from 'zod';
import { messageOf, PeerError, UserError } from '../../src/base/errors.ts';
import { packageRoot } from '../../src/base/packageRoot.ts';
import { version } from '../../src/base/version.ts';
import { createTokenizer } from '../../src/data/tokenizers/openTokenizer.ts';
import type { Tokenizer } from '../../src/data/tokenizers/tokenizer.ts';
import { PeerProcess } from '../peerProcess.ts';
import { byteLength } from './mixedText.ts';

/** Encodes on one thread. */
export interface Encoder {
  /** Which library, of which version. */
  readonly by: string;
  /** Encodes `parts`, or as many of them as a few seconds allow: milliseconds, and the bytes of UTF-8 that were encoded. */
  encode(parts: readonly string[]): Promise<{ readonly ms: number; readonly bytes: number }>;
  /** SHA-256 of the tokens of all parts, in decimal with commas between. */
  hashOf(parts: readonly string[]): Promise<string>;
}

/** Trains on as many cores as it likes. */
export interface Trainer {
  readonly by: string;
  /** Milliseconds, and the SHA-256 of the merges' lines. */
  train(vocabSize: number): Promise<{ readonly ms: number; readonly mergesSha256: string }>;
}

/** A slow library does not make everyone wait. */
const encodeMsMax = 3000;
const dependencies = z.object({ dependencies: z.record(z.string(), z.string()) });
export const ourName = `lockstep ${version}`;

export function ourEncoder(tokenizer: Tokenizer): Encoder {
  return inProcess(ourName, (text) => tokenizer.encode(text));
}

/** The encoder of the package that has GPT-2's ranks. */
export async function gptTokenizerEncoder(): Promise<Encoder> {
  const { encode } = await import('gpt-tokenizer/encoding/r50k_base');
  const plain = { disallowedSpecial: new Set<string>() };
  return inProcess(named('gpt-tokenizer'), (text) => encode(text, plain));
}

/** Hugging Face's JavaScript library, with the files that `tokenizer` writes. */
export function huggingFaceEncoder(tokenizer: Tokenizer): Encoder {
  const library = new HuggingFaceTokenizer(JSON.parse(tokenizer.files()['tokenizer.json'] ?? ''), {});
  return inProcess(named('@huggingface/tokenizers'), (text) => library.encode(text, { add_special_tokens: false }).ids);
}

/** With the version that is installed: ours are pinned. */
function named(library: string): string {
  const { dependencies: versions } = dependencies.parse(
    JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')),
  );
  return `${library} ${versions[library]}`;
}

function inProcess(by: string, encode: (text: string) => Iterable<number>): Encoder {
  return {
    by,
    async encode(parts) {
      const start = performance.now();
      let bytes = 0;
      for (const part of parts) {
        encode(part);
        bytes += Buffer.byteLength(part);
        if (performance.now() - start > encodeMsMax) break;
      }
      return { ms: performance.now() - start, bytes };
    },
    async hashOf(parts) {
      const tokens = parts.flatMap((part) => [...encode(part)]);
      return createHash('sha256').update(tokens.join()).digest('hex');
    },
  };
}

export function ourTrainer(parts: readonly string[]): Trainer {
  return {
    by: ourName,
    async train(vocabSize) {
      const start = performance.now();
      const tokenizer = await createTokenizer(`bpe:${vocabSize}`, parts);
      const ms = performance.now() - start;
      const merges = (tokenizer.files()['merges.txt'] ?? '').trimEnd().split('\n').slice(1);
      return { ms, mergesSha256: createHash('sha256').update(merges.join('\n')).digest('hex') };
    },
  };
}

/** Hugging Face's Python library (Rust inside): bench/peers/huggingFaceTokenizers.py in a process of its own. */
export class PythonPeer {
  readonly by: string;
  readonly #process: PeerProcess;
  readonly #folder: string;
  #files = 0;

  private constructor(by: string, process: PeerProcess, folder: string) {
    this.by = by;
    this.#process = process;
    this.#folder = folder;
  }

  /** `folder` is for what it reads. @throws UserError where `python` or its tokenizers is missing */
  static async open(python: string, folder: string): Promise<PythonPeer> {
    const script = join(packageRoot, 'bench', 'peers', 'huggingFaceTokenizers.py');
    const process = new PeerProcess({ name: 'huggingFaceTokenizers.py', file: python, args: [script] });
    try {
      const installed = (await process.line()).replace(/^ready /, '');
      return new PythonPeer(`tokenizers ${installed} (Python)`, process, folder);
    } catch (error) {
      process.close();
      if (error instanceof PeerError && /No module named|ENOENT/.test(error.message)) {
        throw new UserError(
          `there are no tokenizers to compare with at ${python}: name a Python that has them with --python (pip install tokenizers). ${messageOf(error)}`,
        );
      }
      throw error;
    }
  }

  trainer(parts: readonly string[]): Trainer {
    const texts = this.#write(JSON.stringify(parts));
    return {
      by: this.by,
      train: async (vocabSize) => {
        const answer = await this.#process.ask(`train\t${texts}\t${vocabSize}`);
        const [word, ms, mergesSha256] = answer.split(' ');
        if (word !== 'ms' || mergesSha256 === undefined)
          throw new PeerError(`huggingFaceTokenizers.py answered "${answer}"`);
        return { ms: Number(ms), mergesSha256 };
      },
    };
  }

  encoder(tokenizer: Tokenizer): Encoder {
    const file = this.#write(tokenizer.files()['tokenizer.json'] ?? '');
    const written = new Map<readonly string[], string>();
    const fileOf = (parts: readonly string[]): string => {
      const known = written.get(parts) ?? this.#write(JSON.stringify(parts));
      written.set(parts, known);
      return known;
    };
    return {
      by: this.by,
      encode: async (parts) => ({
        ms: await this.#process.askNumber(`encode\t${file}\t${fileOf(parts)}`, 'ms'),
        bytes: byteLength(parts),
      }),
      hashOf: async (parts) => (await this.#process.ask(`tokens\t${file}\t${fileOf(parts)}`)).replace(/^tokens /, ''),
    };
  }

  #write(content: string): string {
    const path = join(this.#folder, `${this.#files++}.json`);
    writeFileSync(path, content);
    return path;
  }

  close(): void {
    this.#process.close();
  }
}

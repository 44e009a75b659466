/**
 * oneDNN's and OpenBLAS' matrix products beside ours: small programs of our own (bench/peers/), compiled on demand against what is
 * installed. Each runs in a process of its own, with as many threads as our engine.
 */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { errorCode, messageOf } from '../../src/base/errors.ts';
import { packageRoot } from '../../src/base/packageRoot.ts';
import { withTemporaryFolder } from '../../src/bench/temporaryFolder.ts';
import { idleThreadsSleep, PeerProcess } from '../peerProcess.ts';

/** c [M, N] = a [M, K] · b [K, N], or c += that; a transposed operand is stored as [K, M] or [N, K]. */
export interface Product {
  readonly dtype: 'f32' | 'bf16';
  readonly m: number;
  readonly k: number;
  readonly n: number;
  readonly transposedA: boolean;
  readonly transposedB: boolean;
  readonly accumulate: boolean;
}

export type PeerName = CpuPeerName | 'TensorFlow.js' | 'jax-js';

type CpuPeerName = 'oneDNN' | 'OpenBLAS';

interface PeerSource {
  readonly name: CpuPeerName;
  readonly source: string;
  readonly flags: readonly string[];
  readonly install: string;
}

const sources: readonly PeerSource[] = [
  {
    name: 'oneDNN',
    source: 'onednnProduct.cc',
    flags: ['-ldnnl'],
    install: 'apt-get install libdnnl-dev',
  },
  {
    name: 'OpenBLAS',
    source: 'openblasProduct.cc',
    flags: ['-I/usr/include/openblas', '-lopenblas'],
    install: 'apt-get install libopenblas-dev',
  },
];

/** How to keep a library to an instruction set; where nothing is said it takes its best. */
const isaLimits: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  avx512bf16: { ONEDNN_MAX_CPU_ISA: 'AVX512_CORE_BF16' },
  avx512: { ONEDNN_MAX_CPU_ISA: 'AVX512_CORE' },
  avx2: { ONEDNN_MAX_CPU_ISA: 'AVX2', OPENBLAS_CORETYPE: 'Haswell' },
};

export interface ProductPeer {
  readonly name: PeerName;
  readonly version: string;
  /** Computes the product once on the values of `cycledValues`: its checksum, or undefined if the library cannot. */
  prepare(product: Product): Promise<number | undefined>;
  /** Microseconds of one call, from about `ms` milliseconds of calls. */
  sample(ms: number): Promise<number>;
}

export interface ProductPeers {
  readonly peers: readonly ProductPeer[];
  /** For each library that is missing: why, and how to have it. */
  readonly missing: readonly string[];
  close(): void;
}

export async function openProductPeers(options: { threads: number; isa: string }): Promise<ProductPeers> {
  const processes: PeerProcess[] = [];
  const close = (): void => {
    for (const process of processes) process.close();
  };
  const peers: ProductPeer[] = [];
  const missing: string[] = [];
  try {
    // The programs are needed until they run.
    await withTemporaryFolder('lockstep-peers-', async (folder, interrupted) => {
      for (const source of sources) {
        const program = join(folder, source.name);
        const reason = await compile(source, program, interrupted);
        if (reason !== undefined) {
          missing.push(`${source.name} is not compared with: ${reason}`);
          continue;
        }
        const process = new PeerProcess({ name: source.name, file: program, env: environment(options) });
        processes.push(process);
        peers.push(await startPeer(source.name, process));
      }
    });
    return { peers, missing, close };
  } catch (error) {
    close();
    throw error;
  }
}

async function startPeer(name: PeerName, process: PeerProcess): Promise<ProductPeer> {
  return productPeer(name, (await process.line()).replace(/^ready /, ''), process);
}

/** A process that speaks the protocol of bench/peers/productPeer.h and has said that it is ready. */
export function productPeer(name: PeerName, version: string, process: PeerProcess): ProductPeer {
  return {
    name,
    version,
    prepare: async ({ dtype, m, k, n, transposedA, transposedB, accumulate }) => {
      const flags = [transposedA, transposedB, accumulate].map(Number);
      const answer = await process.ask(['prepare', dtype, m, k, n, ...flags].join(' '));
      return answer === 'unsupported' ? undefined : Number(answer.replace(/^ok /, ''));
    },
    sample: (ms) => process.askNumber(`time ${ms}`, 'us'),
  };
}

function environment({ threads, isa }: { threads: number; isa: string }): Record<string, string> {
  return {
    OMP_NUM_THREADS: String(threads),
    OPENBLAS_NUM_THREADS: String(threads),
    ...idleThreadsSleep,
    ...isaLimits[isa],
  };
}

/** Undefined, or why there is no program and what to do. */
async function compile(
  { source, flags, install }: PeerSource,
  program: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  const file = join(packageRoot, 'bench', 'peers', source);
  try {
    await promisify(execFile)('c++', ['-std=c++17', '-O2', '-o', program, file, ...flags], { signal });
    return undefined;
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return 'there is no C++ compiler c++ (apt-get install g++)';
    const { stderr } = error as { stderr?: string };
    const line = (stderr ?? messageOf(error)).split('\n').find((text) => /error|cannot find/.test(text)) ?? '';
    return `${line.replace(/^.*?: /, '')} (${install})`;
  }
}

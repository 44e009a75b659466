/**
 * Other libraries' matrix products beside the webgpu engine's, where they are installed: TensorFlow.js' WebGPU backend through its engine here, and
 * jax-js in a process of its own.
 */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { messageOf, UserError } from '../../src/base/errors.ts';
import { packageRoot } from '../../src/base/packageRoot.ts';
import type { Engine } from '../../src/engine/engine.ts';
import type { Tensor } from '../../src/engine/tensor.ts';
import { createTfjsEngine } from '../../src/engine/tfjs/tfjsEngine.ts';
import { PeerProcess } from '../peerProcess.ts';
import { checksum } from './checksum.ts';
import { cycledValues } from './kernelCase.ts';
import { type Product, type ProductPeer, type ProductPeers, productPeer } from './productPeers.ts';
import { sampler } from './sampler.ts';

export async function openGpuProductPeers(): Promise<ProductPeers> {
  const peers: ProductPeer[] = [];
  const missing: string[] = [];
  const ends: (() => unknown)[] = [];
  const add = async (name: string, open: () => Promise<ProductPeer>): Promise<void> => {
    try {
      peers.push(await open());
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      missing.push(`${name} is not compared with: ${messageOf(error)}`);
    }
  };
  await add('TensorFlow.js', async () => {
    const { engine, version } = await createTfjsWebgpu();
    ends.push(() => engine.dispose());
    return tfjsPeer(engine, version);
  });
  await add('jax-js', async () => {
    const { process, version } = await openJax('jaxProduct.mjs');
    ends.push(() => process.close());
    return productPeer('jax-js', version, process);
  });
  return {
    peers,
    missing,
    close: () => {
      for (const end of ends) void end();
    },
  };
}

/** @throws UserError where the package is missing or does not start */
export async function createTfjsWebgpu(): Promise<{ engine: Engine; version: string }> {
  const engine = await createTfjsEngine({ deviceKind: 'webgpu' });
  const file = createRequire(import.meta.url).resolve('@tensorflow/tfjs-core/package.json');
  const { version } = JSON.parse(await readFile(file, 'utf8')) as { version: string };
  return { engine, version };
}

/** Starts a program of bench/peers. @throws UserError where the package is missing, or finds no GPU */
export async function openJax(
  script: string,
  args: readonly string[] = [],
): Promise<{ process: PeerProcess; version: string }> {
  const file = join(packageRoot, 'bench', 'peers', script);
  const peer = new PeerProcess({ name: 'jax-js', file: process.execPath, args: [file, ...args] });
  const [, word, rest = ''] = /^(\w+) (.*)$/.exec(await peer.line()) ?? [];
  if (word === 'ready') return { process: peer, version: rest };
  peer.close();
  throw new UserError(rest);
}

function tfjsPeer(engine: Engine, version: string): ProductPeer {
  let tensors: Tensor[] = [];
  let sample: ((ms: number) => Promise<number>) | undefined;
  return {
    name: 'TensorFlow.js',
    version,
    prepare: async (product) => {
      if (product.dtype !== 'f32') return undefined;
      for (const tensor of tensors) engine.release(tensor);
      const { call, result, all } = prepareProduct(engine, product);
      tensors = all;
      call();
      const values = new Float32Array(result.size);
      await engine.download(result, values);
      ({ sample } = await sampler(engine, call));
      return checksum(values).sum;
    },
    sample: (ms) => sample!(ms),
  };
}

/** The product as a linear layer of an engine; with `transposedA`, as its weight's gradient. */
function prepareProduct(engine: Engine, { m, k, n, transposedA, transposedB }: Product) {
  const filled = (...shape: number[]): Tensor => {
    const tensor = engine.alloc(shape);
    engine.upload(tensor, cycledValues(tensor.size));
    return tensor;
  };
  const inp = transposedA ? filled(k, m) : filled(m, k);
  const weight = transposedB ? filled(n, k) : filled(k, n);
  const result = engine.alloc([m, n]);
  engine.zero(result);
  const all = [inp, weight, result];
  if (!transposedA) {
    return {
      all,
      result,
      call: () => engine.linearForward({ inp, weight, weightTransposed: transposedB, out: result }),
    };
  }
  return { all, result, call: () => engine.linearBackward({ inp, weight: result, dout: weight, dweight: result }) };
}

/** Training steps of the same shape in PyTorch: bench/peers/pytorchStep.py in a process of its own. */
import { join } from 'node:path';
import { messageOf, PeerError, UserError } from '../../src/base/errors.ts';
import { packageRoot } from '../../src/base/packageRoot.ts';
import type { TrainedShape } from '../../src/bench/stepRunner.ts';

import { idleThreadsSleep, PeerProcess } from '../peerProcess.ts';

/** What PyTorch and the native engine both have. */
export type PeerPrecision = 'float32' | 'bf16';

export interface PyTorchOptions {
  /** bf16: under autocast. */
  readonly precision: PeerPrecision;
  /** By `torch.compile`. */
  readonly compiled: boolean;
}

export interface PyTorchPeer {
  readonly version: string;
  /** Milliseconds of one step with this number of threads. */
  step(threads: number): Promise<number>;
  close(): void;
}

/** @throws UserError where `python` or its torch is missing */
export async function openPyTorch(
  python: string,
  shape: TrainedShape,
  { precision, compiled }: PyTorchOptions,
): Promise<PyTorchPeer> {
  const script = join(packageRoot, 'bench', 'peers', 'pytorchStep.py');
  const mode = ['--precision', precision, ...(compiled ? ['--compile'] : [])];
  const args = [script, ...sizesOf(shape), ...mode, '--serve'];
  const process = new PeerProcess({ name: 'PyTorch', file: python, args, env: idleThreadsSleep });
  try {
    const version = (await process.line()).replace(/^ready /, '');
    return {
      version,
      step: (threads) => process.askNumber(`step ${threads}`, 'ms'),
      close: () => process.close(),
    };
  } catch (error) {
    process.close();
    if (error instanceof PeerError && /No module named|ENOENT/.test(error.message)) {
      throw new UserError(
        `there is no PyTorch to compare with at ${python}: name a Python that has torch with --python, ` +
          `or install one (python3 -m venv torch && torch/bin/pip install torch, then --python torch/bin/python). ${messageOf(error)}`,
      );
    }
    throw error;
  }
}

/** The options of pytorchStep.py and jaxStep.mjs: all sequences of the global batch in one pass. */
export function sizesOf({ model, train }: TrainedShape): string[] {
  if (model.architecture !== 'gpt2')
    throw new UserError('the model of other libraries is a GPT-2, but model.architecture is not gpt2');
  const sizes = {
    layers: model.nLayer,
    heads: model.nHead,
    width: model.nEmbd,
    block: model.blockSize,
    batch: train.globalBatchSize,
    vocab: model.vocabSize,
    dropout: model.dropout,
  };
  return [
    ...Object.entries(sizes).flatMap(([name, size]) => [`--${name}`, String(size)]),
    ...(model.bias ? ['--bias'] : []),
  ];
}

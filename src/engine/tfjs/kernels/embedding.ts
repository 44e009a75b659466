/** Rows of the token and position tables, and the sums of gradients that go to them. */
import { lastExtent } from '../../../base/shape.ts';
import { positionsOf } from '../../documents.ts';
import { expectTokens } from '../../hostIntegers.ts';
import type { KernelOptions } from '../../kernels.ts';
import { checkGradients } from '../../linearOptions.ts';
import { expectSizes } from '../deviceTensor.ts';
import * as math from '../math.ts';
import type { TfjsDevice } from '../tfjsDevice.ts';

export function embeddingForward(device: TfjsDevice, options: KernelOptions<'embeddingForward'>): void {
  const { out, tokens, wte, wpe, positionOffset = 0, scale = 1 } = options;
  const { tf } = device.ops;
  const c = lastExtent(wte);
  const time = lastExtent(tokens);
  expectTokens('embeddingForward', device.hostIntegers(tokens), wte);
  expectSizes('embeddingForward', { out: [out, tokens.size * c] });
  const starts = device.startsOf('embeddingForward', options, tokens);
  device.write([out], () => {
    const found = tf.gather(device.rows(wte), tf.reshape(device.read(tokens), [-1]));
    const rows = scale === 1 ? found : tf.mul(found, scale);
    if (wpe === undefined) return [rows];
    if (starts !== null) {
      const positions = positionsOf(starts, time).map((position) => positionOffset + position);
      return [tf.add(rows, tf.gather(device.rows(wpe), tf.tensor1d(positions, 'int32')))];
    }
    const positions = tf.slice(device.rows(wpe), [positionOffset, 0], [time, c]);
    return [tf.add(tf.reshape(rows, [-1, time, c]), positions)];
  });
}

export function embeddingBackward(device: TfjsDevice, options: KernelOptions<'embeddingBackward'>): void {
  const { dout, tokens, dwte, dwpe, scale = 1 } = options;
  checkGradients('embeddingBackward', dwte, dwpe);
  const { tf } = device.ops;
  const c = lastExtent(dout);
  const time = lastExtent(tokens);
  expectSizes('embeddingBackward', { dout: [dout, tokens.size * c] });
  if (dwte !== undefined) {
    const host = device.hostIntegers(tokens);
    expectTokens('embeddingBackward', host, dwte);
    device.write([dwte], () => {
      const sums = math.embeddingGradient(device.ops, host, device.rows(dout), dwte.size / c);
      return [tf.add(device.rows(dwte), scale === 1 ? sums : tf.mul(sums, scale))];
    });
  }
  const starts = device.startsOf('embeddingBackward', options, tokens);
  if (dwpe === undefined) return;
  device.write([dwpe], () => {
    if (starts !== null) {
      const positions = positionsOf(starts, time);
      const sums = math.embeddingGradient(device.ops, positions, device.rows(dout), dwpe.size / c);
      return [tf.add(device.rows(dwpe), sums)];
    }
    const sums = tf.sum(tf.reshape(device.read(dout), [-1, time, c]), 0);
    const unused = dwpe.size / c - time;
    const padded = unused === 0 ? sums : tf.concat([sums, tf.zeros([unused, c])]);
    return [tf.add(device.rows(dwpe), padded)];
  });
}

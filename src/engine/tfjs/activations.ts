/** The activations and their gradients in TensorFlow.js operations: one entry for each of base/activations.ts. */
import type { Tensor as TfTensor } from '@tensorflow/tfjs-core';
import type { ActivationKind } from '../../base/activations.ts';
import { invariant } from '../../base/errors.ts';
import type { Tf } from './backends.ts';
import type { Ops } from './math.ts';

/** One activation, element by element. */
interface ActivationOps {
  /** act(x) */
  forward(tf: Tf, x: TfTensor): TfTensor;
  /** act'(x) · dout */
  backward(tf: Tf, x: TfTensor, dout: TfTensor): TfTensor;
}

const GELU_SCALE = Math.sqrt(2 / Math.PI);
const GELU_CUBIC = 0.044715;

/** tanh(√(2/π) · (x + 0.044715 x³)). Its argument is held where tanh is ±1 in float32, so that nothing overflows. */
function geluTanh(tf: Tf, x: TfTensor): TfTensor {
  const cubic = tf.mul(x, tf.add(tf.mul(tf.square(x), GELU_CUBIC), 1));
  return tf.tanh(tf.clipByValue(tf.mul(cubic, GELU_SCALE), -20, 20));
}

const gelu: ActivationOps = {
  forward: (tf, x) => tf.mul(tf.mul(x, 0.5), tf.add(geluTanh(tf, x), 1)),
  backward: (tf, input, dout) => {
    const x = tf.clipByValue(input, -16, 16); // beyond, the slope is 0 or 1 in float32
    const tanh = geluTanh(tf, x);
    const slope = tf.mul(
      tf.sub(1, tf.square(tanh)),
      tf.add(tf.mul(tf.square(x), 3 * GELU_CUBIC * GELU_SCALE), GELU_SCALE),
    );
    return tf.mul(dout, tf.mul(0.5, tf.add(tf.add(tanh, 1), tf.mul(x, slope))));
  },
};

const relu: ActivationOps = {
  forward: (tf, x) => tf.relu(x),
  backward: (tf, x, dout) => tf.mul(dout, tf.step(x)),
};

const silu: ActivationOps = {
  forward: (tf, x) => {
    const product = tf.mul(x, tf.sigmoid(tf.clipByValue(x, -80, 80)));
    return tf.where(tf.less(x, -80), tf.zerosLike(x), product); // the held sigmoid is not 0, and x has no bound
  },
  backward: (tf, input, dout) => {
    const x = tf.clipByValue(input, -80, 80); // beyond, the slope is 0 or 1 in float32
    const sigmoid = tf.sigmoid(x);
    return tf.mul(dout, tf.mul(sigmoid, tf.add(tf.mul(x, tf.sub(1, sigmoid)), 1)));
  },
};

const activations = { gelu, relu, silu } satisfies Record<ActivationKind, ActivationOps>;

function opsOf(kind: ActivationKind): ActivationOps {
  invariant(Object.hasOwn(activations, kind), `the tfjs engine has no activation ${kind}`);
  return activations[kind];
}

/** act(x) */
export function activation({ tf }: Ops, kind: ActivationKind, x: TfTensor): TfTensor {
  return opsOf(kind).forward(tf, x);
}

/** The gradient of x, given that of act(x). */
export function activationGradient({ tf }: Ops, kind: ActivationKind, x: TfTensor, dout: TfTensor): TfTensor {
  return opsOf(kind).backward(tf, x, dout);
}

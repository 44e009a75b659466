/**
 * Linear layers on the tape (tape.ts), with what follows them: forward in one kernel, and backward the gradients of the factors, those of an
 * adapter (adaptedWeight.ts) and that of the residual.
 */
import { checkOptionNames } from '../../base/optionNames.ts';
import type { Tensor } from '../../engine/tensor.ts';
import type { Parameter } from '../parameter.ts';
import { needsGrad, type Recording } from '../recording.ts';
import { type Affine, gradientsOf, type LinearLayer, linearNames, save, use, Variable } from '../variable.ts';
import type { Products } from './products.ts';

/** A layer that is computed, or known, and its backward to come. */
interface Computed {
  readonly recording: Recording;
  readonly x: Variable;
  readonly layer: LinearLayer;
  readonly out: Variable;
  readonly products: Products;
}

/** The result of a layer; see `Tape.linear`. @param isKnown it is recorded only: somebody has its values, and gives `out` its gradient */
export function linear(
  recording: Recording,
  x: Variable,
  layer: LinearLayer,
  products: Products,
  isKnown: boolean,
): Variable {
  checkOptionNames('linear', layer, linearNames);
  const { weight, bias, weightTransposed = false, activation: kind, residual, dropout, float32, rowsApart } = layer;
  const shape = [...x.shape.slice(0, -1), weight.value.shape[weightTransposed ? 0 : 1]!];
  const dtype = residual ? residual.dtype : float32 ? 'float32' : products.type;
  // An activation's backward needs values that exist only if it is computed.
  if (isKnown && !kind) return record({ recording, x, layer, out: new Variable(shape, dtype), products });
  const out = recording.variable(shape, dtype);
  // The input of the activation is kept only if a backward needs it.
  if (kind && needsGrad({ variables: [x], parameters: parametersOf(layer) })) {
    out.activation = { kind, preActivation: recording.buffers.alloc(out.shape, out.dtype) };
  }
  recording.engine.linearForward({
    ...products.operands,
    inp: x.value,
    weight: factorOf(weight),
    weightTransposed,
    out: out.value,
    ...(bias && { bias: bias.value }),
    ...(kind && { activation: out.activation ?? { kind } }),
    ...(residual && { residual: residual.value }),
    ...(dropout && { dropout }),
    ...(rowsApart && { rowsApart }),
  });
  return record({ recording, x, layer, out, products });
}

function record(computed: Computed): Variable {
  const { recording, x, layer, out } = computed;
  const { residual } = layer;
  const inp = save(x);
  if (residual) use(residual);
  const scratch = out.activation ? [out.activation.preActivation] : [];
  const parameters = parametersOf(layer);
  return recording.record(out, scratch, { variables: [x, residual], parameters }, (dout) => {
    if (needsGrad({ variables: [x], parameters })) backward(computed, dout, inp);
    if (residual?.needsGrad) recording.handOn(out, residual);
  });
}

/** The gradients of the layer's factors; `out.grad` remains that of the residual. */
function backward({ recording, x, layer, out, products }: Computed, dout: Tensor, inp: Tensor): void {
  const { engine, buffers } = recording;
  const { weight, weightTransposed = false, dropout } = layer;
  const gradient = weight.adapted?.isTrained ? buffers.alloc(weight.value.shape) : undefined;
  if (gradient !== undefined) engine.zero(gradient);
  if (out.activation && !out.gradIsOfPreActivation) {
    const { kind, preActivation } = out.activation;
    engine.activationBackward({ kind, dinp: dout, dout, inp: preActivation });
  }
  const dsum = dropout ? buffers.alloc(dout.shape, products.type) : dout;
  if (dropout) engine.dropout({ out: dsum, inp: dout, dropout });
  const gradients = { ...gradientsOf(layer), ...(gradient && { dweight: gradient }) };
  const shared = { ...products.operands, inp, weight: factorOf(weight), weightTransposed, dout: dsum, ...gradients };
  if (x.activation && x.uses === 1) {
    // Nothing else adds to the gradient of x, so the gradient of the sum can be computed at once.
    x.grad = buffers.alloc(x.shape, x.dtype);
    x.gradIsOfPreActivation = true;
    engine.linearBackward({ ...shared, dinp: x.grad, dinpActivation: x.activation });
  } else {
    recording.flow(x, (into) => engine.linearBackward({ ...shared, ...into }));
  }
  if (dsum !== dout) buffers.release(dsum);
  if (gradient !== undefined) {
    weight.adapted!.project(gradient, buffers);
    if (weight.grad !== undefined) engine.add({ out: weight.grad, a: weight.grad, b: gradient });
    buffers.release(gradient);
  }
}

/** What a product with this weight reads. */
function factorOf({ adapted, value }: Parameter): Tensor {
  return adapted?.effective ?? value;
}

function parametersOf({ weight, bias }: Affine): (Parameter | undefined)[] {
  return [weight, bias, weight.adapted?.a, weight.adapted?.b];
}

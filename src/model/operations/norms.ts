/** Layer norms and norms by the root mean square, on the tape (tape.ts). */
import { checkOptionNames } from '../../base/optionNames.ts';
import type { Shape } from '../../engine/tensor.ts';
import type { Parameter } from '../parameter.ts';
import type { Recording } from '../recording.ts';
import { type Affine, affineNames, type FloatType, gradientsOf, save, type Variable } from '../variable.ts';

/** The rows of x [..., C], normalised, as `out` [outShape]; see `Tape.layerNorm`. @param type that of the result */
export function layerNorm(
  recording: Recording,
  x: Variable,
  norm: Affine,
  eps: number,
  outShape: Shape,
  type: FloatType,
): Variable {
  checkOptionNames('layerNorm', norm, affineNames);
  const { engine, buffers } = recording;
  const { weight, bias } = norm;
  const inp = save(x);
  const rows = inp.size / inp.shape.at(-1)!;
  const out = recording.variable(outShape, type);
  const mean = buffers.alloc([rows]);
  const rstd = buffers.alloc([rows]);
  const shared = { inp, weight: weight.value, mean, rstd };
  engine.layerNormForward({ ...shared, out: out.value, ...(bias && { bias: bias.value }), eps });
  return recording.record(out, [mean, rstd], { variables: [x], parameters: [weight, bias] }, (dout) => {
    const gradients = gradientsOf({ weight, bias });
    recording.flow(x, (into) => engine.layerNormBackward({ ...shared, ...gradients, dout, ...into }));
  });
}

/** See `Tape.rmsNorm`. @param type that of the result */
export function rmsNorm(recording: Recording, x: Variable, weight: Parameter, eps: number, type: FloatType): Variable {
  const { engine, buffers } = recording;
  const inp = save(x);
  const out = recording.variable(x.shape, type);
  const rstd = buffers.alloc([inp.size / inp.shape.at(-1)!]);
  const shared = { inp, weight: weight.value, rstd };
  engine.rmsNormForward({ ...shared, out: out.value, eps });
  return recording.record(out, [rstd], { variables: [x], parameters: [weight] }, (dout) => {
    const gradient = weight.grad && { dweight: weight.grad };
    recording.flow(x, (into) => engine.rmsNormBackward({ ...shared, ...gradient, dout, ...into }));
  });
}

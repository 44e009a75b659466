/**
 * The losses of the tape (tape.ts): cross entropy of a head's logits, which never exist all at once, and of complete logits. A loss can
 * start a backward pass in two ways. With a scale, its gradient is computed with it, which is cheapest. Without one it is an ordinary
 * variable, whose gradient may depend on the losses themselves: a seed of `backward`.
 *
 * N rows, IC channels, V vocabulary.
 */
import { invariant } from '../../base/errors.ts';
import { checkOptionNames, type OptionNames } from '../../base/optionNames.ts';
import type { LinearCrossEntropyOptions, LinearOptions } from '../../engine/linearOptions.ts';
import type { Tensor } from '../../engine/tensor.ts';
import type { Parameter } from '../parameter.ts';
import { needsGrad, type Recording } from '../recording.ts';
import { type LinearLayer, save, use, type Variable } from '../variable.ts';

/** A matrix whose product with hidden states gives logits. */
export type Head = Pick<LinearLayer, 'weight' | 'weightTransposed'>;

/** The weights of the gradient that is computed with the losses: that of scale · Σ weights[n] · losses[n]. */
export interface LossGradient {
  /** Absent: no gradient is computed, and the losses may be a seed of `backward`. */
  readonly scale?: number | undefined;
  /** [N] float32; absent: 1 for each row. The losses themselves are not weighted. */
  readonly weights?: Tensor | undefined;
}

const headNames = { weight: true, weightTransposed: true } satisfies OptionNames<Head>;
const gradientNames = { scale: true, weights: true } satisfies OptionNames<LossGradient>;

/** Losses [N] of x [N, IC] @ head; see `Tape.linearCrossEntropy`. @param operands how the products read their factors */
export function linearCrossEntropy(
  recording: Recording,
  x: Variable,
  head: Head,
  targets: Tensor,
  gradient: LossGradient,
  operands: Pick<LinearOptions, 'operands'> = {},
): Variable {
  checkOptionNames("linearCrossEntropy's head", head, headNames);
  checkOptionNames('linearCrossEntropy', gradient, gradientNames);
  const { weight, weightTransposed = false } = head;
  const { scale, weights } = checked(gradient);
  const { engine } = recording;
  const losses = recording.variable([targets.size]);
  losses.kept = true;
  const factors = { inp: save(x), weight: weight.value, weightTransposed };
  const shared = { ...operands, losses: losses.value, ...factors, targets };
  const inputs = { variables: [x], parameters: [weight] };
  if (scale === undefined) {
    engine.linearCrossEntropy(shared);
    return recording.record(losses, [], inputs, (dout) =>
      headBackward(recording, x, weight, { ...shared, weights: dout }),
    );
  }
  invariant(needsGrad(inputs), 'a loss with a scale does not depend on a trained parameter');
  headBackward(recording, x, weight, { ...shared, scale, ...(weights && { weights }) });
  recording.record(undefined, [], { parameters: [weight] }, () => undefined);
  return losses;
}

/** Losses, and the gradients of trained inputs. */
function headBackward(recording: Recording, x: Variable, weight: Parameter, options: LinearCrossEntropyOptions): void {
  const { engine } = recording;
  const dweight = weight.grad && { dweight: weight.grad };
  if (!x.needsGrad) engine.linearCrossEntropy({ ...options, ...dweight });
  else recording.flowAssigned(x, (dinp) => engine.linearCrossEntropy({ ...options, dinp, ...dweight }));
}

/** Losses [N] of logits x [N, V]; see `Tape.crossEntropy`. */
export function crossEntropy(recording: Recording, x: Variable, targets: Tensor, gradient: LossGradient): Variable {
  checkOptionNames('crossEntropy', gradient, gradientNames);
  const { scale, weights } = checked(gradient);
  const { engine } = recording;
  const losses = recording.variable([targets.size]);
  losses.kept = true;
  if (scale === undefined) {
    const shared = { losses: losses.value, logits: save(x), targets };
    engine.crossEntropy(shared);
    return recording.record(losses, [], { variables: [x] }, (dout) =>
      recording.flowAssigned(x, (dlogits) => engine.crossEntropy({ ...shared, weights: dout, dlogits })),
    );
  }
  invariant(x.needsGrad, 'a loss with a scale does not depend on a trained parameter');
  const shared = { losses: losses.value, logits: use(x), targets, scale, ...(weights && { weights }) };
  recording.flowAssigned(x, (dlogits) => engine.crossEntropy({ ...shared, dlogits }));
  return losses;
}

function checked(gradient: LossGradient): LossGradient {
  invariant(
    gradient.scale !== undefined || gradient.weights === undefined,
    'row weights need a scale; without a scale, use a seed of backward',
  );
  return gradient;
}

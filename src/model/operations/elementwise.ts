/**
 * Operations on each number by itself, or with another of its row, on the tape (tape.ts): rotary positions, gated activations and
 * dropout. Where nothing else needs a value or a gradient, they write over it.
 */
import type { ActivationKind } from '../../base/activations.ts';
import { checkOptionNames } from '../../base/optionNames.ts';
import type { Dropout } from '../../engine/dropout.ts';
import type { Recording } from '../recording.ts';
import { type Rotation, rotationNames, save, use, Variable } from '../variable.ts';

/** See `Tape.rope`. */
export function rope(recording: Recording, x: Variable, rotation: Rotation): Variable {
  checkOptionNames('rope', rotation, rotationNames);
  const { engine } = recording;
  const inPlace = x.uses === 0 && !x.saved && !x.kept;
  const inp = use(x);
  const out = inPlace ? new Variable(x.shape, x.dtype, inp) : recording.variable(x.shape, x.dtype);
  if (inPlace) x.buffer = undefined;
  engine.rope({ ...rotation, inp, out: out.value });
  return recording.record(out, [], { variables: [x] }, (dout) => {
    engine.rope({ ...rotation, inp: dout, out: dout, inverse: true });
    recording.handOn(out, x);
  });
}

/** See `Tape.gated`. */
export function gated(recording: Recording, x: Variable, kind: ActivationKind): Variable {
  const { engine } = recording;
  const wasSaved = x.saved;
  const inp = save(x);
  const out = recording.variable([...x.shape.slice(0, -1), x.shape.at(-1)! / 2], x.dtype);
  engine.gatedActivationForward({ kind, inp, out: out.value });
  return recording.record(out, [], { variables: [x] }, (dout) => {
    if (wasSaved || x.kept || x.uses > 1) {
      recording.flowAssigned(x, (dinp) => engine.gatedActivationBackward({ kind, inp, dinp, dout }));
      return;
    }
    // Nothing else needs x any more: its gradient takes its place.
    engine.gatedActivationBackward({ kind, inp, dinp: inp, dout });
    x.buffer = undefined;
    recording.give(x, inp);
  });
}

/** See `Tape.dropout`. */
export function dropout(recording: Recording, x: Variable, masks: Dropout): Variable {
  const { engine } = recording;
  const out = recording.variable(x.shape, x.dtype);
  engine.dropout({ out: out.value, inp: use(x), dropout: masks });
  return recording.record(out, [], { variables: [x] }, (dout) => {
    engine.dropout({ out: dout, inp: dout, dropout: masks });
    recording.handOn(out, x);
  });
}

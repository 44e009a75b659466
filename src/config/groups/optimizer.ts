/** The group `optimizer` of a config: which one updates what, and its hyperparameters. */
import { z } from 'zod';
import { choice, real } from '../../base/keyTypes.ts';

export const optimizer = z
  .strictObject({
    kind: choice(['adamw', 'muon'], {
      default: 'adamw',
      doc: 'adamw updates every parameter. muon updates the weight matrices inside of blocks by Muon, and all others by AdamW. It often reaches a lower loss in the same number of steps, and needs 4 bytes less per element of these matrices, but each step takes longer. Learning rate and weight decay apply to both. A resumed run keeps its kind.',
    }),
    momentum: real({
      default: 0.95,
      min: 0,
      max: 0.9999999,
      doc: "Decay rate of Muon's average of gradients; `kind: adamw` ignores it.",
    }),
    beta1: real({ default: 0.9, min: 0, max: 0.9999999, doc: 'Decay rate of the first moment.' }),
    beta2: real({ default: 0.95, min: 0, max: 0.9999999, doc: 'Decay rate of the second moment.' }),
    eps: real({ default: 1e-8, min: 1e-12, max: 1, doc: 'Epsilon, which keeps the division finite.' }),
    weightDecay: real({
      default: 0.1,
      min: 0,
      max: 10,
      doc: 'Decoupled weight decay, on matrices only (not on biases and layer norms).',
    }),
    gradClip: real({ default: 1, min: 0, max: 1e6, doc: 'Maximum global norm of the gradient; 0 disables clipping.' }),
    ema: real({
      default: 0,
      min: 0,
      max: 0.9999999,
      doc: 'Decay of an exponential moving average of the weights, such as 0.999, which spans about the last 1/(1 - ema) steps. The average is what validation measures, what a checkpoint holds as its model, and so what `launch generate`, `eval`, `export` and the best model use; training continues with the weights themselves. It needs 4 more bytes per trained parameter. 0 keeps none.',
    }),
  })
  .meta({ description: 'The optimizer: AdamW, or Muon for the weight matrices inside of blocks.' });

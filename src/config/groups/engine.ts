/** The group `engine` of a config: what computes. */
import { z } from 'zod';
import { instructionSets } from '../../base/instructionSets.ts';
import { choice, indexOrAuto, whole } from '../../base/keyTypes.ts';
import { deviceIndexMax, deviceKinds, engineNames, engines } from '../../engine/engines.ts';

const engineDocs = Object.entries(engines)
  .map(([name, { doc }]) => `${name}: ${doc}.`)
  .join(' ');

export const engine = z
  .strictObject({
    name: choice(engineNames, {
      default: 'auto',
      doc: `${engineDocs} auto: native where it was compiled, else tfjs on wasm.`,
    }),
    deviceKind: choice(deviceKinds, {
      default: 'auto',
      doc: 'Backend of the tfjs engine; auto takes wasm.',
    }),
    device: indexOrAuto({
      max: deviceIndexMax,
      doc: 'Which device of an engine that has several, for all workers; auto gives each worker of a machine its own, the first device 0.',
    }),
    threads: whole({
      default: 0,
      max: 256,
      doc: 'Compute threads of each worker; 0 divides the cores among the workers of this machine.',
    }),
    precision: choice(['float32', 'bf16'], {
      default: 'float32',
      doc: `bf16: matrix products of bfloat16 numbers, summed in float32, and activations in bfloat16; parameters, optimizer and the residual stream stay float32. It is for training and its validation: the sample at the end, \`launch generate\` and \`launch eval\` compute in float32. For the native engine; fast where the CPU has AMX, on some with ${instructionSets.avx512bf16.label} (launch doctor).`,
    }),
  })
  .meta({ description: 'What computes.' });

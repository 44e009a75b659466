/** The group `engine` of a config: the compute engine. */
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
      doc: `${engineDocs} auto: webgpu if this machine has a GPU (not only a software driver), otherwise native if it is available, otherwise tfjs on wasm.`,
    }),
    deviceKind: choice(deviceKinds, {
      default: 'auto',
      doc: 'Backend of the tfjs engine; auto selects wasm.',
    }),
    device: indexOrAuto({
      max: deviceIndexMax,
      doc: 'Index of the device that all workers use, for engines with several (`launch doctor` lists them). auto gives each worker on a machine its own, starting at 0; more workers than devices share them.',
    }),
    threads: whole({
      default: 0,
      max: 256,
      doc: 'Compute threads per worker. 0 divides the cores of a machine among its workers.',
    }),
    precision: choice(['float32', 'bf16', 'f16'], {
      default: 'float32',
      doc: `bf16: run matrix products in bfloat16 with float32 sums, and keep activations in bfloat16; parameters, optimizer state and the residual stream stay in float32. Needs the native engine. Faster on CPUs with AMX, and on some with ${instructionSets.avx512bf16.label} (see \`launch doctor\`). f16: round the factors of matrix products to float16, with float32 sums and a dynamic loss scale; everything else is float32. Needs the webgpu engine, and a GPU with \`shader-f16\`. Both apply to training and its validation: the sample at the end, \`launch generate\` and \`launch eval\` compute in float32.`,
    }),
  })
  .meta({ description: 'The compute engine.' });

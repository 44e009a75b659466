/** Other libraries in a comparison of training steps on a GPU by WebGPU, where they are installed: TensorFlow.js and jax-js. */
import { messageOf, UserError } from '../../src/base/errors.ts';
import type { TrainedShape } from '../../src/bench/stepRunner.ts';
import { createTfjsWebgpu, openJax } from '../engine/gpuPeers.ts';
import { type Contender, type OpenedContenders, steps } from './contender.ts';
import { sizesOf } from './pytorchPeer.ts';

/** The first step of jax-js compiles; the second may once more. */
const jaxWarmUp = 2;

export async function openGpuContenders(shape: TrainedShape): Promise<OpenedContenders> {
  const contenders: Contender[] = [];
  const missing: string[] = [];
  const ends: (() => unknown)[] = [];
  const close = async (): Promise<void> => {
    for (const end of ends) await end();
  };
  const common = { precision: 'float32', isOurs: false, threads: 1 } as const;
  const add = async (name: string, open: () => Promise<Contender>): Promise<void> => {
    try {
      contenders.push(await open());
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      missing.push(`${name} is not compared with: ${messageOf(error)}`);
    }
  };
  try {
    await add('TensorFlow.js', async () => {
      const { engine, version } = await createTfjsWebgpu();
      ends.push(() => engine.dispose());
      return {
        ...common,
        name: `TensorFlow.js ${version}`,
        ...(await steps(engine, { ...shape, precision: 'float32' })),
      };
    });
    await add('jax-js', async () => {
      const { process, version } = await openJax('jaxStep.mjs', sizesOf(shape));
      ends.push(() => process.close());
      const step = () => process.askNumber('step', 'ms');
      for (let i = 0; i < jaxWarmUp; i++) await step();
      return { ...common, name: `jax-js ${version}`, step, ms: [] };
    });
    return { contenders, missing, close };
  } catch (error) {
    await close();
    throw error;
  }
}

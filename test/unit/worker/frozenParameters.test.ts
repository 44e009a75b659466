/** A run trains every parameter: a worker says so before it starts an engine. */
import { MessageChannel } from 'node:worker_threads';
import { afterEach, expect, it, vi } from 'vitest';
import { Declarations } from '../../../src/architecture/parameters.ts';
import { UserError } from '../../../src/base/errors.ts';
import { configSchema } from '../../../src/config/schema.ts';
import { ReplicaTasks } from '../../../src/worker/replicaTasks.ts';

afterEach(() => vi.restoreAllMocks());

async function build(): Promise<void> {
  const model = { blockSize: 8, nLayer: 1, nHead: 2, nEmbd: 8, dropout: 0 };
  const config = configSchema.parse({ model, engine: { name: 'native' } });
  const { port1, port2 } = new MessageChannel();
  const tasks = new ReplicaTasks();
  const shared = { vocabSize: 16, objective: 'next-token', threads: 1, localIndex: 0, trace: false };
  try {
    await tasks.build({ config, ...shared, gradientPort: port2, wanted: Int32Array.of(1) });
  } finally {
    await tasks.dispose();
    port1.close();
  }
}

it('a worker refuses a network that freezes parameters', async () => {
  await build();
  const declared = Object.getOwnPropertyDescriptor(Declarations.prototype, 'specs')!;
  vi.spyOn(Declarations.prototype, 'specs', 'get').mockImplementation(function (this: Declarations) {
    const specs: Declarations['specs'] = declared.get!.call(this);
    return specs.map((spec) => ({ ...spec, trainable: !spec.name.endsWith('wpe.weight') }));
  });
  const refused = build();
  await expect(refused).rejects.toThrow(UserError);
  await expect(refused).rejects.toThrow(/gpt2 freezes transformer\.wpe\.weight, but a run trains all/);
});

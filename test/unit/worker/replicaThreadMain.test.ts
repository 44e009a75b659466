import { MessageChannel } from 'node:worker_threads';
import { expect, it } from 'vitest';
import { configSchema } from '../../../src/config/schema.ts';
import { build } from '../../../src/worker/replicaThreadMain.ts';

it('refuses to build in bf16 where the engine that it finds has none', async () => {
  // As `auto` finds it on a machine that joins without the native addon; asked for by name, the config is refused already.
  const { engine, ...rest } = configSchema.parse({});
  const config = { ...rest, engine: { ...engine, name: 'tfjs', deviceKind: 'cpu', precision: 'bf16' } } as const;
  const { port1, port2 } = new MessageChannel();
  const options = {
    config,
    vocabSize: 65,
    objective: 'next-token',
    threads: 1,
    localIndex: 0,
    trace: false,
    gradientPort: port2,
  };
  const outcome = await build({ ...options, wanted: new Int32Array(2) });
  port1.close();
  expect(outcome).toMatchObject({ ok: false, blame: 'user', message: expect.stringContaining('tfjs has no bfloat16') });
});

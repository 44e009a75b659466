/** The most multiply-adds that a GPU reaches: independent sums that never leave their registers. */
import type { Gpu } from '../gpu.ts';
import { type Program, program } from '../program.ts';

/** Sums of an invocation, enough to hide the latency of an instruction, and multiply-adds of each between two checks of the loop. */
const [CHAINS, UNROLLED] = [8, 4];
/** Invocations of a workgroup, and workgroups: enough to fill a large GPU. */
const [GROUP, GROUPS] = [64, 4096];
/** More would be a run of many seconds, which some systems end. */
const ROUNDS_MAX = 2 ** 20;

const chains = Array.from({ length: CHAINS }, (_, i) => `x${i}`);
const multiplyAdds = chains.map((x) => `${x} = fma(${x}, a, b);`).join(' ');

const fmaLimit = program({
  name: 'multiply-adds',
  bindings: { data: 'read_write f32' },
  params: { rounds: 'u32' },
  code: `
@compute @workgroup_size(${GROUP})
fn main(@builtin(global_invocation_id) id: vec3u) {
  let b = data[id.x];
  let a = 0.5 * b;
  ${chains.map((x, i) => `var ${x} = b + ${i}.0;`).join(' ')}
  for (var round = 0u; round < params.rounds; round++) {
    ${Array.from({ length: UNROLLED }, () => multiplyAdds).join('\n    ')}
  }
  data[id.x] = ${chains.join(' + ')};
}`,
});

/** Floating-point operations a second, the best of some runs that take about `seconds` together. */
export function fmaRate(gpu: Gpu, seconds: number): Promise<number> {
  const call = { program: fmaLimit, size: GROUP * GROUPS, groups: GROUPS };
  return bestRate(gpu, call, 2 * CHAINS * UNROLLED * GROUP * GROUPS, seconds);
}

/** A program that repeats its work `params.rounds` times, with an array of `size` numbers, which are 0. */
export interface RepeatedCall {
  readonly program: Program<'data', 'rounds'>;
  readonly size: number;
  readonly groups: number;
}

/** The best rate of some runs that take about `seconds` together. @param flops operations of one round */
export async function bestRate(gpu: Gpu, call: RepeatedCall, flops: number, seconds: number): Promise<number> {
  const data = gpu.memory.alloc([call.size], 'float32');
  const secondsOf = async (rounds: number) => {
    await gpu.commands.finish();
    const start = performance.now();
    gpu.run(call.program, { tensors: { data }, params: { rounds }, groups: [call.groups] });
    await gpu.commands.finish();
    return (performance.now() - start) / 1000;
  };
  try {
    gpu.commands.clear(data.buffer, data.byteOffset, 4 * data.size);
    await secondsOf(1); // compiles it
    let rounds = 4;
    let taken = await secondsOf(rounds);
    while (taken < seconds / 8 && rounds < ROUNDS_MAX) {
      rounds *= 2;
      taken = await secondsOf(rounds);
    }
    let best = taken;
    for (let i = 0; i < 4; i++) best = Math.min(best, await secondsOf(rounds));
    return (flops * rounds) / best;
  } finally {
    gpu.memory.release(data);
  }
}

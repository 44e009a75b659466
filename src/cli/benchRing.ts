/** `launch bench ring`: times the ring all-reduce between processes on this machine. */
import type { CommandModule } from 'yargs';
import { UserError } from '../base/errors.ts';
import { type RingBenchReport, runRingBench } from '../bench/ringBench.ts';
import { countsOption } from './options.ts';
import { statusLine } from './terminal.ts';

interface BenchRingArguments {
  ranks: string;
  mbytes: number;
  repetitions: number;
  'bucket-bytes': number;
  'chunk-bytes': number;
  tcp: boolean;
  encrypt: boolean;
  json: boolean;
}

export const benchRingCommand: CommandModule<unknown, BenchRingArguments> = {
  builder: (yargs) =>
    yargs
      .option('ranks', { type: 'string', default: '2,4', describe: 'Numbers of processes, separated by commas' })
      .option('mbytes', { type: 'number', default: 43, describe: 'Size of the float32 data, in MB' })
      .option('repetitions', { type: 'number', default: 15, describe: 'Timed all-reduces, after three for warm-up' })
      .option('bucket-bytes', {
        type: 'number',
        default: 4 * 2 ** 20,
        describe: 'Maximum bucket size in bytes (comm.bucketBytesMax)',
      })
      .option('chunk-bytes', {
        type: 'number',
        default: 512 * 2 ** 10,
        describe: 'Frame size in bytes (comm.chunkBytes)',
      })
      .option('tcp', {
        type: 'boolean',
        default: false,
        describe: 'Use ZeroMQ over loopback TCP instead of Unix sockets',
      })
      .option('encrypt', {
        type: 'boolean',
        default: false,
        describe: 'Encrypt the TCP connections, as between machines; needs --tcp',
      })
      .option('json', { type: 'boolean', default: false, describe: 'Print one JSON object' })
      .example('$0 bench ring', '43 MB, with 2 and with 4 processes')
      .example('$0 bench ring --ranks 3 --mbytes 500 --json', 'the gradient size of GPT-2 124M, as JSON'),
  handler: async ({ ranks, mbytes, repetitions, tcp, encrypt, json, ...rest }) => {
    const { 'bucket-bytes': bucketBytes, 'chunk-bytes': chunkBytes } = rest;
    for (const [name, value] of Object.entries({
      mbytes,
      repetitions,
      'bucket-bytes': bucketBytes,
      'chunk-bytes': chunkBytes,
    })) {
      if (!(value > 0)) throw new UserError(`--${name}: expected a number above 0, received ${value}`);
    }
    const options = {
      ranks: countsOption('ranks', ranks, { min: 2, max: 64 }),
      mbytes,
      repetitions,
      bucketBytes,
      chunkBytes,
      localRing: !tcp,
      encrypted: encrypt,
    };
    const report = await runRingBench(options, statusLine('timing the ring'));
    process.stdout.write(json ? `${JSON.stringify(report, null, 2)}\n` : table(report));
  },
};

function table({ machine, results }: RingBenchReport): string {
  const lines = [
    `ring all-reduce between processes, ${machine.cores} cores`,
    'ranks      MB  median ms  min ms  bus GB/s  CPU ms  over   sum',
  ];
  for (const { ranks, mbytes, medianMs, minMs, busGBs, cpuMs, carrier, reduce } of results) {
    const cells = [
      String(ranks).padStart(5),
      mbytes.toFixed(1).padStart(8),
      medianMs.toFixed(1).padStart(11),
      minMs.toFixed(1).padStart(8),
      busGBs.toFixed(2).padStart(10),
      cpuMs.toFixed(0).padStart(8),
    ];
    lines.push(`${cells.join('')}  ${carrier.padEnd(5)}  ${reduce}`);
  }
  return `${lines.join('\n')}\n`;
}

/** `npm run bench -- picture`: the animated picture of the README, from a real run that loses a worker. */
import { readFile, writeFile } from 'node:fs/promises';
import type { CommandModule } from 'yargs';
import { animationOf } from './animation.ts';
import { filmOf } from './film.ts';
import { type Recording, record } from './recording.ts';

interface BenchPictureArguments {
  readonly out: string;
  readonly save: string | undefined;
  readonly from: string | undefined;
}

const size = { columns: 96, rowCounts: [22, 2] } as const;
const command = 'npx launch --workers 3';

export const benchPictureCommand: CommandModule<unknown, BenchPictureArguments> = {
  command: 'picture',
  describe: 'Record a run that loses a worker as an animated SVG (needs npm run build, and tmux)',
  builder: (yargs) =>
    yargs
      .option('out', {
        type: 'string',
        default: 'docs/images/lost-worker.svg',
        requiresArg: true,
        describe: 'The file',
      })
      .option('save', { type: 'string', requiresArg: true, describe: 'Keep the recording in this file' })
      .option('from', { type: 'string', requiresArg: true, describe: 'Draw a kept recording, and record nothing' })
      .example('npm run bench -- picture', "the README's picture: one to three minutes"),
  handler: async ({ out, save, from }) => {
    const say = (what: string) => void process.stderr.write(`waiting for ${what}\n`);
    const options = { ...size, command, worker: 'local-0001', killAfter: 0.35, limitMs: 600_000 };
    const recording =
      from === undefined ? await record(options, say) : (JSON.parse(await readFile(from, 'utf8')) as Recording);
    if (save !== undefined) await writeFile(save, JSON.stringify(recording));
    const film = filmOf(recording);
    const svg = animationOf({
      ...film,
      ...size,
      titles: [command, 'another terminal'],
      description:
        'A training run with three workers: one is killed with kill -9, the others repeat the step, a new worker takes its place, and the run ends with a sample.',
    });
    await writeFile(out, svg);
    process.stdout.write(`${out}: ${film.shots.length} screens, ${Math.round(svg.length / 1000)} kB\n`);
  },
};

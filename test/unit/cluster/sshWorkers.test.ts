import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { type SshWorkersOptions, startSshWorkers } from '../../../src/cluster/sshWorkers.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lockstep-ssh-'));
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true });
});

const joining = { address: 'tcp://a:5555', joinKey: 'key', joinWords: ['--ring-ports=6000-6001', '--wait=5'] };

/** What is told of the end of a host. @param script its `launch`; undefined: this machine has no ssh */
async function problemsOf(script: string | undefined): Promise<(string | undefined)[]> {
  if (script !== undefined) {
    // Runs the command here.
    await writeFile(join(folder, 'ssh'), '#!/bin/sh\nfor last; do :; done\nexec /bin/sh -c "$last"\n', { mode: 0o755 });
    await writeFile(join(folder, 'launch'), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  }
  vi.stubEnv('PATH', script === undefined ? folder : `${folder}:${process.env['PATH']}`);
  const problems: (string | undefined)[] = [];
  const onEnd: SshWorkersOptions['onEnd'] = (_host, problem) => void problems.push(problem);
  const workers = startSshWorkers({ hosts: [{ host: 'b', target: 'b', workers: 2 }], folder, onEnd, ...joining });
  await vi.waitFor(() => expect(problems).not.toEqual([]), 10_000);
  await workers.close(0);
  await new Promise(setImmediate);
  return problems;
}

it('the workers of a host get its number of workers and the options of all', async () => {
  expect(await problemsOf('echo "$@" >&2; exit 3')).toEqual([
    'b: its 2 workers ended with code 3: join tcp://a:5555 --workers 2 --ring-ports=6000-6001 --wait=5',
  ]);
});

it('the end of an ssh that does not start counts once', async () => {
  expect(await problemsOf(undefined)).toEqual(['b: cannot start ssh: spawn ssh ENOENT']);
});

it('shows few and short lines of another machine, without what a terminal would obey', async () => {
  const print = String.raw`printf 'first\n%s\n\033[2J\a\r\nmore\n%s\nlast' two`;
  const long = 'i=0; while [ $i -lt 20000 ]; do printf 0123456789; i=$((i+1)); done';
  const [problem = ''] = await problemsOf(`{ ${print} "$(${long})"; } >&2; exit 1`);
  expect(problem).toMatch(/code 1: \[2J \/ more \/ [0-9]{300} \/ last$/);
});

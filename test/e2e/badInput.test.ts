/** Wrong input: exit code 2, one message that says what was expected, what came and what to do, and nothing written. */
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { launch, set, tiny, useFolder } from './launch.ts';

const folder = useFolder();

beforeAll(async () => {
  const write = (name: string, content: string | Uint8Array) => writeFile(join(folder(), name), content);
  await write('typo.yaml', 'model:\n  nLayer: 2\n  nHeads: 2\n');
  await write('type.yaml', 'train:\n  maxSteps: many\n');
  await write('broken.yaml', 'model: [1, 2\n');
  await write('empty.txt', '');
  await write('short.txt', 'too short');
  await write('binary.txt', new Uint8Array([65, 0, 66, 0]));
  await write('latin1.txt', new Uint8Array([65, 0xe9, 66]));
  await mkdir(join(folder(), 'bare'), { recursive: true });
  await mkdir(join(folder(), 'run/checkpoints/step-00000001'), { recursive: true });
  await write('run/config.yaml', '');
  // A run that ended before its first step.
  await mkdir(join(folder(), 'runs/untrained'), { recursive: true });
  await write('runs/untrained/config.yaml', '');
  await write('runs/untrained/metrics.jsonl', '');
});

const cases: Record<string, [readonly string[], RegExp]> = {
  'an unknown command': [['trian'], /unknown command trian/],
  'an unknown option': [['--worker', '2'], /unknown option --worker/],
  'a config that does not exist': [['--config', 'nosuch'], /nosuch[\s\S]*quickstart/],
  'an unknown key': [['--config', 'typo.yaml'], /typo\.yaml:3[\s\S]*nHeads[\s\S]*nHead/],
  'a mistyped value': [['--config', 'type.yaml'], /type\.yaml:2[\s\S]*maxSteps[\s\S]*many/],
  'broken YAML': [['--config', 'broken.yaml'], /broken\.yaml:\d/],
  'an unknown override': [set('model.nLayers=2'), /nLayers[\s\S]*model\.nLayer/],
  'heads that do not divide the width': [set('model.nHead=3'), /nEmbd[\s\S]*divisible by[\s\S]*nHead/],
  'a batch that does not divide': [set('train.microBatchSize=5'), /globalBatchSize[\s\S]*microBatchSize/],
  'a vocabulary smaller than the tokenizer': [set('model.vocabSize=10'), /vocabSize/],
  'more workers than sequences': [['--workers', '20', ...set('train.globalBatchSize=16')], /globalBatchSize/],
  'a number of workers that is not a number': [['--workers', 'two'], /--workers: expected a number, received "two"/],
  'no workers': [['--workers', '0'], /--workers: expected a whole number from 1 to 1024, received 0/],
  'half a worker': [['--workers=1.5'], /--workers: expected a whole number from 1 to 1024, received 1\.5/],
  'an option given twice': [['--workers', '2', '--workers', '3'], /--workers was given 2 times/],
  'a text given twice': [['--run-dir', 'a', '--run-dir', 'b'], /--run-dir was given 2 times/],
  'an option without its value': [['--set'], /--set: expected a value after it/],
  'an empty run directory': [['--run-dir', ''], /--run-dir: expected a non-empty text/],
  'a run directory that cannot be': [
    ['--run-dir', '/proc/x', ...set(...tiny)],
    /cannot make the run directory \/proc\/x/,
  ],
  'a run directory below a file': [['--run-dir', 'short.txt/x', ...set(...tiny)], /cannot make the run directory/],
  'a world larger than the batch': [['--min-workers', '20'], /globalBatchSize is 16, fewer sequences than the 20/],
  'a minimum that is not a number': [['--min-workers', 'x'], /--min-workers: expected a number, received "x"/],
  'a world of nobody': [['--min-workers', '0'], /--min-workers: expected a whole number/],
  'restarts below none': [['--max-restarts', '-1'], /--max-restarts: expected a whole number/],
  'others in one process': [['--single-process', '--workers', '1', '--min-workers', '2'], /accepts no other workers/],
  'an empty prompt for the sample': [set(...tiny, 'sample.maxTokens=5', 'sample.prompt='), /sample\.prompt/],
  'a sample of characters that the text lacks': [
    set(...tiny, 'sample.maxTokens=5', 'sample.prompt=\u2603'),
    /sample\.prompt/,
  ],
  'a missing text': [set('data.text=nosuch.txt'), /nosuch\.txt/],
  'an empty text': [set('data.text=empty.txt'), /empty\.txt/],
  'a binary text': [set('data.text=binary.txt'), /binary\.txt/],
  'a text that is not UTF-8': [set('data.text=latin1.txt'), /latin1\.txt/],
  'a text that is too short': [set('data.text=short.txt'), /too short/],
  'a run to resume that does not exist': [['--resume', 'bare'], /config\.yaml/],
  'a checkpoint to resume': [['--resume', 'run/checkpoints/step-00000001'], /use --resume .*\/run\n/],
  'the checkpoints of a run to resume': [['--resume', 'run/checkpoints'], /use --resume .*\/run\n/],
  'resume with another config': [['--resume', 'bare', '--config', 'quickstart'], /omit --config/],
  'an address for others, and nothing that listens': [
    ['--advertise', 'tcp://train.example:5555', ...set(...tiny)],
    /--advertise sets the address at which other machines reach --listen: add --listen, for example tcp:/,
  ],
  'an address for others that nobody can connect to': [
    ['--listen', 'tcp://0.0.0.0:0', '--advertise', 'tcp://[::]:5555', ...set(...tiny)],
    /--advertise tcp:\/\/\[::\]:5555: expected an address or a name that other machines can connect to/,
  ],
  'an invalid address': [['--listen', 'localhost', ...set(...tiny)], /localhost/],
  'a folder that is not a checkpoint': [['generate', '--checkpoint', 'bare'], /bare/],
  'a join without address': [['join'], /missing argument. Usage: npx launch join <address>/],
  'a join of no workers': [['join', 'tcp://127.0.0.1:5555', '--workers', '0'], /--workers: expected a whole number/],
  'a join with a number of workers that is not a number': [
    ['join', 'tcp://127.0.0.1:5555', '-w', 'abc'],
    /-w: expected .* received "abc"/,
  ],
  'a join to no address': [['join', '127.0.0.1:5555'], /tcp:\/\/127\.0\.0\.1:5555[\s\S]*received "127\.0\.0\.1:5555"/],
  'a join to no port': [['join', 'tcp://127.0.0.1:0'], /expected the address with the port that the run printed/],
  'a bare resume where nothing was trained': [['--resume'], /no run to resume/],
};

describe('bad input', () => {
  it.each(Object.entries(cases))('%s', async (_, [args, message]) => {
    const before = await readdir(folder(), { recursive: true });
    const result = await launch(args, folder());
    expect(result.stderr).toMatch(message);
    expect(result.stderr).not.toMatch(/\n {4}at /);
    expect(result.stdout).toBe('');
    expect(result.code).toBe(2);
    expect(result.orphans).toEqual([]);
    expect(await readdir(folder(), { recursive: true })).toEqual(before);
  });

  it('a port in use', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const address = server.address();
    const port = typeof address === 'object' ? address?.port : undefined;
    const result = await launch(['--listen', `tcp://127.0.0.1:${port}`, ...set(...tiny)], folder());
    server.close();
    expect(result.code).toBe(2);
    expect(result.stderr).toMatch(new RegExp(`${port}[\\s\\S]*in use`));
  });

  it('an engine whose device is missing', async () => {
    const overrides = [...tiny, 'engine.name=tfjs', 'engine.deviceKind=tensorflow'];
    const result = await launch(['--run-dir', 'nodevice', ...set(...overrides)], folder());
    expect(result.code).toBe(2);
    expect(result.stderr).toMatch(/@tensorflow\/tfjs-node/);
    expect(result.orphans).toEqual([]);
  });
});

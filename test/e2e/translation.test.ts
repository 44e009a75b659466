/** `task.kind: seq2seq` on the command line: two aligned text files, from training to BLEU. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { launch, lossesOf, set, useFolder } from './launch.ts';

const folder = useFolder();
const numbers = ['uno', 'dos', 'tres', 'cuatro', 'cinco', 'seis', 'siete', 'ocho', 'nueve', 'diez'];
const english = ['one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten'];
/** Sources and targets of very different lengths. */
const texts = (words: readonly string[], times: number) =>
  Array.from({ length: 40 }, (_, row) =>
    Array.from({ length: 1 + ((row * times) % 12) }, (__, i) => words[(row + i) % 10]).join(' '),
  );

beforeAll(() => {
  writeFileSync(join(folder(), 'a.en'), `${texts(english, 5).join('\n')}\n`);
  writeFileSync(join(folder(), 'a.es'), `${texts(numbers, 7).join('\n')}\n`);
});

const options = [
  ...['data.examples=[a.en,a.es]', 'data.tokenizer=char', 'model.nEmbd=32', 'model.nHead=2', 'model.encoderLayers=1'],
  ...['model.nLayer=1', 'model.blockSize=128', 'model.dropout=0.1', 'train.epochs=1', 'train.globalBatchSize=8'],
  ...['train.microBatchSize=2', 'train.logEverySteps=1', 'eval.everySteps=3', 'sample.maxTokens=5', 'engine.threads=1'],
  ...['schedule.warmupSteps=5', 'schedule.learningRate=1e-4'],
];

async function train(run: string, ...args: readonly string[]): Promise<string> {
  const given = ['--config', 'translate', '--run-dir', run, ...args, ...set(...options)];
  const { code, stdout, stderr } = await launch(given, folder());
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return stdout;
}

it('trains alike on one worker and on two, and translates, evaluates and refuses to chat', async () => {
  const printed = await train('one', '--workers', '1', '--single-process');
  expect(printed).toMatch(
    /^data a\.en, a\.es: 36 examples, [\d,]+ of [\d,]+ tokens are targets, 4 examples to validate/m,
  );
  expect(printed).toMatch(/--- sample ---\n[a-z ]+\n(?:.*\n)*-{14}\n/);
  await train('two', '--workers', '2');
  const [one, two] = await Promise.all(['one', 'two'].map(async (run) => lossesOf(join(folder(), run))));
  expect(one).toHaveLength(5);
  for (const [step, loss] of one!.entries()) expect(two![step]).toBeCloseTo(loss, 5);

  writeFileSync(join(folder(), 'sources.txt'), 'one two\n\nthree\n');
  const generated = await launch(
    ['generate', '--checkpoint', 'one', '--prompt-file', 'sources.txt', '--max-tokens', '4'],
    folder(),
  );
  expect(generated.code).toBe(0);
  expect(generated.stdout).toMatch(/^[^\n]*\n\n[^\n]*\n$/); // each line is a source
  // Only the target, at most 4 characters, or the name of the end token that a new model may draw.
  expect(generated.stdout.trimEnd()).not.toContain('one two');

  const evaluate = [
    'eval',
    '--checkpoint',
    'one',
    '--task',
    'bleu',
    '--data',
    'a.en',
    '--targets',
    'a.es',
    '--beams',
    '2',
    '--json',
  ];
  const [own, shared] = await Promise.all(
    [[], ['--workers', '2']].map(async (more) => {
      const { code, stdout } = await launch([...evaluate, ...more], folder());
      expect(code).toBe(0);
      return JSON.parse(stdout) as object;
    }),
  );
  expect(own).toEqual(shared);
  expect(own).toMatchObject({ task: 'bleu', rows: 40, bleu: expect.any(Number) });

  const chat = await launch(['chat', 'one'], folder());
  expect(chat.code).toBe(2);
  expect(chat.stderr).toContain('this model writes the target of a source, such as its translation, and does not chat');
});

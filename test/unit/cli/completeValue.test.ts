import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { completeValue } from '../../../src/cli/completeValue.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lockstep-completion-'));
  mkdirSync(join(folder, 'runs/first'), { recursive: true });
  mkdirSync(join(folder, 'runs/second'));
  writeFileSync(join(folder, 'runs/note.txt'), '');
});
afterAll(() => rmSync(folder, { recursive: true }));

const complete = (...words: string[]) => completeValue(['launch', ...words], words.at(-1) ?? '', folder);

it('completes the names of shipped configs', () => {
  expect(complete('--config', 'shakes')).toEqual(['shakespeare-char', 'shakespeare-gpt']);
  expect(complete('-c', 'q')).toEqual(['quickstart']);
  expect(complete('train', '--config=q')).toEqual(['--config=quickstart']);
});

it('completes run directories', () => {
  expect(complete('--resume', '')).toEqual(['runs/first', 'runs/second']);
  expect(complete('eval', '--checkpoint', 'runs/s')).toEqual(['runs/second']);
  expect(complete('generate', 'runs/f')).toEqual(['runs/first']);
  expect(complete('eval', '--d')).toBeUndefined();
  expect(completeValue(['launch', '--resume', ''], '', join(folder, 'nowhere'))).toEqual([]);
});

it('completes keys after --set, several too', () => {
  expect(complete('--set', 'model.nL')).toEqual(['model.nLayer=']);
  expect(complete('--set', 'model.nLayer=2', 'train.maxS')).toEqual(['train.maxSteps=']);
});

it('leaves all else to yargs and the shell', () => {
  expect(complete('tr')).toBeUndefined();
  expect(complete('--set', 'model.nLayer=2', '--w')).toBeUndefined();
  expect(complete('--key', '')).toBeUndefined();
});

/** Values of another type, from programs in JavaScript: an error that says what was expected and received, never a default or a TypeError. */
import { expect, it } from 'vitest';
import * as lockstep from '../../src/index.ts';

const absent = undefined as never;
const generate = (options: unknown) => new lockstep.TrainedModel(absent).generate('The', options as never).next();
const train = (options: unknown) => lockstep.train(options as never);
const load = (path: unknown) => lockstep.loadCheckpoint(path as never);
const restore = (path: unknown) => lockstep.restoreCheckpoint(path as never, absent);
const loadConfig = async (options: unknown) => lockstep.loadConfig(options as never);
const aPath = 'expected a path as a string that is not empty, received';

it.each<[(given: unknown) => Promise<unknown>, unknown, string]>([
  [generate, { minP: '0.1' }, 'minP: expected a number from 0 to 1, received "0.1"'],
  [generate, { minP: 1n }, 'minP: expected a number from 0 to 1, received 1n'],
  [generate, { repetitionPenalty: '1' }, 'repetitionPenalty: expected a number from 0.01 to 100, received "1"'],
  [generate, { repetitionPenalty: [1.2] }, 'repetitionPenalty: expected a number from 0.01 to 100, received an array'],
  [generate, { ignoreEos: 'no' }, 'ignoreEos: expected true or false, received "no"'],
  [generate, { signal: {} }, 'signal: expected an AbortSignal, received an object'],
  [generate, [], 'the options of generate: expected an object, received an array'],
  [generate, new Map(), 'the options of generate: expected an object, received an object (Map)'],
  [train, { singleProcess: 'yes' }, 'singleProcess: expected true or false, received "yes"'],
  [train, { config: new Map() }, 'config: expected an object, or a path as a string, received an object (Map)'],
  [train, { config: 5 }, 'config: expected an object, or a path as a string, received 5'],
  [train, { runDir: '' }, `runDir: ${aPath} ""`],
  [train, { runDir: 5 }, `runDir: ${aPath} 5`],
  [train, { resume: 5 }, `resume: ${aPath} 5`],
  [train, { signal: 5 }, 'signal: expected an AbortSignal, received 5'],
  [train, { workers: '2' }, 'workers: expected a whole number from 1 to 1024, received "2"'],
  [train, { overrides: 'train.maxSteps=5' }, 'overrides: expected an array of strings, received "train.maxSteps=5"'],
  [load, '', `loadCheckpoint: ${aPath} ""`],
  [load, null, `loadCheckpoint: ${aPath} null`],
  [load, {}, `loadCheckpoint: ${aPath} an object`],
  [load, ['chat'], `loadCheckpoint: ${aPath} an array`],
  [load, new URL('file:///run'), `loadCheckpoint: ${aPath} an object (URL)`],
  [load, 'a\0b', 'expected a path without a zero byte, received "a\\u0000b"'],
  [restore, null, `restoreCheckpoint: ${aPath} null`],
  [restore, 5, `restoreCheckpoint: ${aPath} 5`],
  [loadConfig, {}, `cwd: ${aPath} undefined`],
  [loadConfig, { config: 5, cwd: '.' }, 'config: expected an object, received 5'],
])('%o refuses %o', async (call, given, message) => {
  await expect(call(given)).rejects.toThrow(new lockstep.UserError(message));
});

/** Messages name settings as their reader gives them: a program passes keys and properties, a person types options. */
import { afterAll, expect, it, vi } from 'vitest';

afterAll(() => vi.resetModules());

it('names properties and keys to a program', async () => {
  const { optionName, overrideText, settingText } = await import('../../../src/base/ownCommand.ts');
  expect(optionName('run-dir')).toBe('runDir');
  expect(optionName('no-encrypt')).toBe('encrypt: false');
  expect(settingText('data.text', 'PATH')).toBe('data.text=PATH');
  expect(overrideText('train.maxSteps=9')).toBe('overrides: train.maxSteps=9');
});

it('names options to a person', async () => {
  vi.resetModules();
  const { optionName, overrideText, setProgram, settingText } = await import('../../../src/base/ownCommand.ts');
  setProgram('npx launch');
  expect(optionName('run-dir')).toBe('--run-dir');
  expect(settingText('data.text', 'PATH')).toBe('--set data.text=PATH');
  expect(settingText('--data', 'PATH')).toBe('--data PATH');
  expect(overrideText('train.maxSteps=9')).toBe('--set train.maxSteps=9');
});

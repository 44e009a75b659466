import { expect, it, onTestFinished, vi } from 'vitest';
import { insistHint, onEndRequest, outliveRepeatedSignals } from '../../../src/cli/endRequests.ts';

it('after a first signal of a scheduler that was heard, a repeated one does not change how the process ends', () => {
  const before = process.listeners('SIGUSR1');
  const exit = vi.spyOn(process, 'exit').mockImplementation((() => undefined) as never);
  onTestFinished(() => {
    for (const signal of ['SIGTERM', 'SIGUSR1', 'SIGUSR2', 'SIGXCPU', 'SIGPWR'] as const) {
      for (const each of process.listeners(signal)) if (!before.includes(each)) process.off(signal, each);
    }
    exit.mockRestore();
  });
  outliveRepeatedSignals();
  process.emit('SIGUSR1', 'SIGUSR1');
  expect(exit.mock.calls).toEqual([[138]]);

  exit.mockClear();
  outliveRepeatedSignals();
  const heard: string[] = [];
  const ignore = onEndRequest((cause) => void heard.push(cause));
  process.emit('SIGUSR1', 'SIGUSR1');
  ignore();
  exit.mockClear();
  process.emit('SIGTERM', 'SIGTERM');
  process.emit('SIGUSR1', 'SIGUSR1');
  expect(heard).toEqual(['SIGUSR1']);
  expect(exit).not.toHaveBeenCalled();
});

it.each([
  ['SIGINT', '; press Ctrl-C again to stop at once'],
  ['SIGTERM', '; send SIGTERM again to stop at once'],
  ['SIGHUP', ''],
  ['the end of npm', ''],
] as const)('after %s, says how to insist to those who can: %j', (cause, hint) => {
  expect(insistHint(cause, 'to stop at once')).toBe(hint);
});

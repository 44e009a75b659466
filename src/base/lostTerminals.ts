/**
 * Node puts each terminal back as it found it when it ends, and aborts (exit code 134) where that fails because the terminal has
 * closed: after a run that went on without one, its exit code would be lost. So descriptors of closed terminals are given up first.
 */
import { closeSync, openSync } from 'node:fs';
import { devNull } from 'node:os';
import { isatty } from 'node:tty';

/** To be called once, when the program starts. */
export function outliveTerminals(): void {
  const terminals = [0, 1, 2].filter((descriptor) => isatty(descriptor));
  process.on('exit', () => {
    for (const descriptor of terminals) {
      if (isatty(descriptor)) continue;
      closeSync(descriptor);
      // It gets the number that has just become free: nothing else may.
      openSync(devNull, 'r+');
    }
  });
}

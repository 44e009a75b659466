/**
 * On exit, Node restores the settings of each terminal, and aborts (exit code 134) if that fails because the terminal has
 * closed. A run that continued without its terminal would lose its exit code. So descriptors of closed terminals are replaced first.
 */
import { closeSync, openSync } from 'node:fs';
import { devNull } from 'node:os';
import { isatty } from 'node:tty';

/** Call this once, when the program starts. */
export function outliveTerminals(): void {
  const terminals = [0, 1, 2].filter((descriptor) => isatty(descriptor));
  process.on('exit', () => {
    for (const descriptor of terminals) {
      if (isatty(descriptor)) continue;
      closeSync(descriptor);
      // This file gets the descriptor number that was just freed; nothing else may get it.
      openSync(devNull, 'r+');
    }
  });
}

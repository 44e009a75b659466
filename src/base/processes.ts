/** Processes of this machine. */
import { readFileSync } from 'node:fs';
import { errorCode } from './errors.ts';

/** Whether there is such a process, and it has not ended: one whose parent has not asked for its exit code has. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (errorCode(error) !== 'EPERM') return false;
  }
  return !isZombie(pid);
}

/** Only Linux says so; elsewhere it passes for alive until its parent or the system has waited for it. */
function isZombie(pid: number): boolean {
  try {
    // The name, in brackets, may hold anything; the state follows it.
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return /^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
  } catch {
    // No such file: not Linux, or the process has ended meanwhile, which the next look will tell.
    return false;
  }
}

/**
 * Which process it is. A pid alone says little: another process has it after a restart, in another container, on another machine that
 * shares a folder. With the place where it counts and the time at which its process began it names one process for good.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { errorCode } from './errors.ts';

export interface ProcessIdentity {
  readonly host: string;
  /** Of this start of the machine's kernel; '' where the system does not say. */
  readonly boot: string;
  /** Within which `pid` counts: containers have their own; '' where there are none. */
  readonly pidNamespace: string;
  readonly pid: number;
  /** As the system says it, for comparison only; '' where it does not. */
  readonly startTime: string;
}

/** The process that has a pid here now; by default this one. */
export function processOf(pid: number = process.pid): ProcessIdentity {
  return { ...here(), pid, startTime: startTimeOf(pid) };
}

/** What of a process does not depend on the process: two with the same can ask the system for each other. */
function here(): Omit<ProcessIdentity, 'pid' | 'startTime'> {
  return {
    host: hostname(),
    boot: ifThere(() => readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()),
    pidNamespace: ifThere(() => readlinkSync('/proc/self/ns/pid')),
  };
}

/** A short word for a process, to compare: no other has the same, now or later, here or elsewhere. */
export function processWord(pid?: number): string {
  return wordOf(processOf(pid));
}

/** A short word for the place where pids are those of this process. */
export function placeWord(): string {
  return wordOf(here());
}

function wordOf(identity: object): string {
  return createHash('sha256').update(JSON.stringify(identity)).digest('hex').slice(0, 8);
}

export type ProcessFate = 'alive' | 'gone' | 'unknown';

/**
 * Whether a process lives; `unknown` where this machine cannot tell: it is of another, of another container, or nobody says when it
 * began, as of other users' processes where /proc hides them.
 * @param startTimeNow of the process that has a pid now; '' where the system does not say
 */
export function fateOf({ pid, startTime, ...place }: ProcessIdentity, startTimeNow = startTimeOf): ProcessFate {
  const own = here();
  const isHere = place.host === own.host && place.boot === own.boot && place.pidNamespace === own.pidNamespace;
  if (!isHere) return 'unknown';
  return fateHere(pid, startTimeNow, (found) => found === startTime);
}

/** The same of a process of this place that is known by its word. */
export function fateOfWord(pid: number, word: string, startTimeNow = startTimeOf): ProcessFate {
  const place = here();
  return fateHere(pid, startTimeNow, (startTime) => wordOf({ ...place, pid, startTime }) === word);
}

function fateHere(pid: number, startTimeNow: typeof startTimeOf, isIts: (startTime: string) => boolean): ProcessFate {
  const found = startTimeNow(pid);
  // Asked last: it may have ended meanwhile.
  if (!isAlive(pid)) return 'gone';
  // Nobody can say when it began, or whoever named it could not.
  if (found === '' || isIts('')) return 'unknown';
  return isIts(found) ? 'alive' : 'gone';
}

/** Whether there is such a process, and it has not ended: one whose parent has not asked for its exit code has. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (errorCode(error) !== 'EPERM') return false;
  }
  return !/^[ZX]/.test(statOf(pid));
}

/** When a process began; '' where the system does not say. */
function startTimeOf(pid: number): string {
  if (process.platform === 'win32') return '';
  // The 22nd field of all, the 20th after the name: clock ticks since the machine started.
  if (process.platform === 'linux') return statOf(pid).split(' ')[19] ?? '';
  // Another locale or time zone would say the same time in other words.
  const env = { ...process.env, LC_ALL: 'C', TZ: 'UTC' };
  return ifThere(() => execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8', env }).trim());
}

/** What /proc says of a process after its name, which is in brackets and may hold anything; '' where it says nothing. */
function statOf(pid: number): string {
  const stat = ifThere(() => readFileSync(`/proc/${pid}/stat`, 'latin1'));
  return stat.slice(stat.lastIndexOf(')') + 2);
}

/** '' where it cannot be read: not Linux, or the process has ended meanwhile, which the next look will tell. */
function ifThere(read: () => string): string {
  try {
    return read();
  } catch {
    return '';
  }
}

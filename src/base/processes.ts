/**
 * The identity of a process. A pid alone is not unique: after a restart, in another container, or on another machine that
 * shares a folder, another process has it. Together with its pid namespace and start time, it identifies one process permanently.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { errorCode } from './errors.ts';

export interface ProcessIdentity {
  readonly host: string;
  /** The boot id of the machine; '' if the system does not provide one. */
  readonly boot: string;
  /** The namespace of `pid`: containers have their own; '' if there are none. */
  readonly pidNamespace: string;
  readonly pid: number;
  /** The start time as reported by the system, for comparison only; '' if unknown. */
  readonly startTime: string;
}

/** The process that currently has a pid here; default: this process. */
export function processOf(pid: number = process.pid): ProcessIdentity {
  return { ...here(), pid, startTime: startTimeOf(pid) };
}

/** The part of the identity that is independent of the process: two processes with the same place can ask the system about each other. */
function here(): Omit<ProcessIdentity, 'pid' | 'startTime'> {
  return {
    host: hostname(),
    boot: ifThere(() => readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()),
    pidNamespace: ifThere(() => readlinkSync('/proc/self/ns/pid')),
  };
}

/** A short word that identifies a process: no other process has the same, at any time or place. */
export function processWord(pid?: number): string {
  return wordOf(processOf(pid));
}

/** A short word for the place in which this process's pids are valid. */
export function placeWord(): string {
  return wordOf(here());
}

function wordOf(identity: object): string {
  return createHash('sha256').update(JSON.stringify(identity)).digest('hex').slice(0, 8);
}

export type ProcessFate = 'alive' | 'gone' | 'unknown';

/**
 * Whether a process lives; `unknown` if this machine cannot tell, because the process is on another machine or in another container, or its
 * start time is unknown (/proc may hide other users' processes).
 * @param startTimeNow start time of the process that currently has a pid; '' if unknown
 */
export function fateOf({ pid, startTime, ...place }: ProcessIdentity, startTimeNow = startTimeOf): ProcessFate {
  const own = here();
  const isHere = place.host === own.host && place.boot === own.boot && place.pidNamespace === own.pidNamespace;
  if (!isHere) return 'unknown';
  return fateHere(pid, startTimeNow, (found) => found === startTime);
}

/** The same for a process of this place, identified by its word. */
export function fateOfWord(pid: number, word: string, startTimeNow = startTimeOf): ProcessFate {
  const place = here();
  return fateHere(pid, startTimeNow, (startTime) => wordOf({ ...place, pid, startTime }) === word);
}

function fateHere(pid: number, startTimeNow: typeof startTimeOf, isIts: (startTime: string) => boolean): ProcessFate {
  const found = startTimeNow(pid);
  // Checked last, because the process may have ended meanwhile.
  if (!isAlive(pid)) return 'gone';
  // The start time is unknown, now or when the process was recorded.
  if (found === '' || isIts('')) return 'unknown';
  return isIts(found) ? 'alive' : 'gone';
}

/** Whether the process exists and has not ended; a zombie has ended. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (errorCode(error) !== 'EPERM') return false;
  }
  return !/^[ZX]/.test(statOf(pid));
}

/** The start time of a process; '' if unknown. */
function startTimeOf(pid: number): string {
  if (process.platform === 'win32') return '';
  // Field 22, the 20th after the name: clock ticks since the machine started.
  if (process.platform === 'linux') return statOf(pid).split(' ')[19] ?? '';
  // Another locale or time zone would print the same time differently.
  const env = { ...process.env, LC_ALL: 'C', TZ: 'UTC' };
  return ifThere(() => execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8', env }).trim());
}

/** The fields of /proc/PID/stat after the name, which is in brackets and may contain anything; '' if unavailable. */
function statOf(pid: number): string {
  const stat = ifThere(() => readFileSync(`/proc/${pid}/stat`, 'latin1'));
  return stat.slice(stat.lastIndexOf(')') + 2);
}

/** '' if it cannot be read: the system is not Linux, or the process has ended, which the next check will show. */
function ifThere(read: () => string): string {
  try {
    return read();
  } catch {
    return '';
  }
}

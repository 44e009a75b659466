/**
 * The number of cores this process may use: those that the scheduler allows (`taskset`, cpusets), limited by the time that its
 * control groups grant (`docker run --cpus`, a pod's limit). More threads than that wait for each other.
 */
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';

/** The Linux files with this information. */
export interface GroupFiles {
  /** The contents of `/proc/self/cgroup`; '' if it does not exist. */
  readonly membership: string;
  /** @throws if the file does not exist */
  read(path: string): string;
}

const root = '/sys/fs/cgroup';

/** At least 1. Fractions of a core are ignored beyond the first core. */
export function availableCores(): number {
  const quota = coreQuota(groupFiles());
  return Math.max(1, Math.min(availableParallelism(), Math.floor(quota)));
}

/** Number of cores that the control groups grant: the strictest of a group and its ancestors; infinite without a limit. */
export function coreQuota({ membership, read }: GroupFiles): number {
  let least = Number.POSITIVE_INFINITY;
  for (const line of membership.split('\n')) {
    // 0::/path of version 2; 4:cpu,cpuacct:/path of version 1.
    const [, controllers = '', path = ''] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
    const isUnified = controllers === '' && path !== '';
    if (!isUnified && !controllers.split(',').includes('cpu')) continue;
    const mounts = isUnified ? [root, join(root, 'unified')] : [join(root, controllers), join(root, 'cpu')];
    const quotaOf = isUnified ? unifiedQuota : firstQuota;
    for (const mount of mounts) {
      for (const folder of upwards(path))
        least = Math.min(
          least,
          quotaOf((name) => read(join(mount, folder, name))),
        );
    }
  }
  return least;
}

/** `max 100000` or `150000 100000`: microseconds in each period. */
function unifiedQuota(read: (name: string) => string): number {
  return ratio(...(textOf(read, 'cpu.max').trim().split(' ') as [string, string?]));
}

function firstQuota(read: (name: string) => string): number {
  return ratio(textOf(read, 'cpu.cfs_quota_us').trim(), textOf(read, 'cpu.cfs_period_us').trim());
}

/** Without a limit the quota is `max` or -1. */
function ratio(quota: string, period = ''): number {
  const cores = Number(quota) / Number(period);
  return cores > 0 && period !== '' ? cores : Number.POSITIVE_INFINITY;
}

/** '' if the file does not exist, because this group does not have the controller or is not mounted here. */
function textOf(read: (name: string) => string, name: string): string {
  try {
    return read(name);
  } catch {
    return '';
  }
}

/** A folder and its ancestors. In a container the path may be the host's; then the container's own group is the root. */
function* upwards(path: string): Generator<string> {
  for (let folder = path; ; folder = dirname(folder)) {
    yield folder;
    if (folder === '/') return;
  }
}

function groupFiles(): GroupFiles {
  const read = (path: string) => readFileSync(path, 'utf8');
  return { membership: textOf(read, '/proc/self/cgroup'), read };
}

import { availableParallelism } from 'node:os';
import { expect, it } from 'vitest';
import { availableCores, coreQuota } from '../../../src/base/cores.ts';

function quotaOf(membership: string, files: Readonly<Record<string, string>>): number {
  const read = (path: string) => {
    if (!(path in files)) throw new Error(`ENOENT: ${path}`);
    return files[path]!;
  };
  return coreQuota({ membership, read });
}

it.each<[string, string, Record<string, string>, number]>([
  ['no control groups', '', {}, Number.POSITIVE_INFINITY],
  ['version 2 without a limit', '0::/a\n', { '/sys/fs/cgroup/a/cpu.max': 'max 100000\n' }, Number.POSITIVE_INFINITY],
  ['version 2', '0::/a/b\n', { '/sys/fs/cgroup/a/b/cpu.max': '150000 100000\n' }, 1.5],
  [
    'a stricter group above',
    '0::/a/b\n',
    { '/sys/fs/cgroup/a/b/cpu.max': '400000 100000\n', '/sys/fs/cgroup/a/cpu.max': '200000 100000\n' },
    2,
  ],
  ['a container that sees its own group as the root', '0::/\n', { '/sys/fs/cgroup/cpu.max': '100000 100000\n' }, 1],
  ["a container whose path is the host's", '0::/docker/x\n', { '/sys/fs/cgroup/cpu.max': '300000 100000\n' }, 3],
  [
    'version 1',
    '5:memory:/d\n4:cpu,cpuacct:/d\n0::/d\n',
    {
      '/sys/fs/cgroup/cpu,cpuacct/d/cpu.cfs_quota_us': '250000\n',
      '/sys/fs/cgroup/cpu,cpuacct/d/cpu.cfs_period_us': '100000\n',
    },
    2.5,
  ],
  [
    'version 1 without a limit',
    '4:cpu,cpuacct:/\n',
    { '/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1\n', '/sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n' },
    Number.POSITIVE_INFINITY,
  ],
])('cores by quota: %s', (_, membership, files, cores) => {
  expect(quotaOf(membership, files)).toBe(cores);
});

it('counts at least one core, and none that the scheduler keeps from this process', () => {
  expect(availableCores()).toBeGreaterThanOrEqual(1);
  expect(availableCores()).toBeLessThanOrEqual(availableParallelism());
});

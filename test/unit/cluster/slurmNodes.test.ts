import { expect, it } from 'vitest';
import { slurmNodes } from '../../../src/cluster/slurmNodes.ts';

it.each([
  ['n1', ['n1']],
  ['n[1-3,7],m04', ['n1', 'n2', 'n3', 'n7', 'm04']],
  ['cn[08-11]', ['cn08', 'cn09', 'cn10', 'cn11']],
  ['r[1-2]n[1,3]-ib', ['r1n1-ib', 'r1n3-ib', 'r2n1-ib', 'r2n3-ib']],
  ['a.example.org,b', ['a.example.org', 'b']],
])('expands %s', (list, names) => {
  expect(slurmNodes(list)).toEqual(names);
});

it.each(['', 'n[1-', 'n[3-1]', 'n[a-b]', 'n[]', 'n1,,n2', 'n 1', 'n[[1]]', 'n1]'])('refuses "%s"', (list) => {
  expect(() => slurmNodes(list)).toThrow(/expected a node list of Slurm/);
});

it.each(['n[1-999999999]', 'a[0-999]b[0-999]', 'n[1-65536],m'])('refuses too many nodes: %s', (list) => {
  expect(() => slurmNodes(list)).toThrow(/more than 65536 nodes/);
});

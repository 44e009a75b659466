import { describe, expect, it } from 'vitest';
import { limitOf, utilisation } from '../../../src/coordinator/utilisation.ts';

const worker = (host: string, threads: number, cores: number, threadFlops = 1e11) => ({
  host,
  prepared: { limit: { threadFlops, threads, cores } },
});

describe('what the machines of a run can do', () => {
  it('counts each thread', () => {
    expect(limitOf([worker('a', 2, 4), worker('a', 2, 4)])).toBe(4e11);
  });

  it('counts no machine twice: four workers on two cores have two', () => {
    expect(limitOf(Array.from({ length: 4 }, () => worker('a', 1, 2)))).toBe(2e11);
  });

  it('adds up machines, each with its own cores and speed', () => {
    expect(limitOf([worker('a', 2, 2), worker('a', 2, 2), worker('b', 8, 16, 2e11)])).toBe(2e11 + 16e11);
  });

  it('takes the best that a machine has shown', () => {
    expect(limitOf([worker('a', 1, 2, 0.6e11), worker('a', 1, 2, 1e11)])).toBe(2e11);
  });

  it('is unknown where a worker has not measured, or there is none', () => {
    expect(limitOf([worker('a', 1, 2), { host: 'b', prepared: {} }])).toBeUndefined();
    expect(limitOf([])).toBeUndefined();
  });
});

describe('the utilisation', () => {
  it('is what a step is worth over what the machines could do in its time', () => {
    expect(utilisation(5e10, 1, 0, [worker('a', 1, 1)])).toBe(0.5);
    expect(utilisation(5e10, 0.5, 0, [worker('a', 1, 1)])).toBe(1);
  });

  it('goes by the limit that a user gives, whatever was measured', () => {
    expect(utilisation(5e11, 1, 2, [worker('a', 1, 1)])).toBe(0.25);
    expect(utilisation(5e11, 1, 2, [])).toBe(0.25);
  });

  it('is absent where something is not known', () => {
    expect(utilisation(undefined, 1, 2, [])).toBeUndefined();
    expect(utilisation(1, 1, 0, [])).toBeUndefined();
    expect(utilisation(1, 0, 2, [])).toBeUndefined();
  });
});

import { describe, expect, it } from 'vitest';
import { UserError } from '../../../src/base/errors.ts';
import { countsOption, engineOptionsOf } from '../../../src/cli/options.ts';

describe('countsOption', () => {
  const range = { min: 2, max: 64 };

  it('reads numbers with commas between', () => {
    expect(countsOption('ranks', '2', range)).toEqual([2]);
    expect(countsOption('ranks', '4,2,64', range)).toEqual([4, 2, 64]);
  });

  it.each(['', '1', '65', '2,', '2;4', '2.5', 'two', '2,-4', '1e9'])('refuses "%s"', (text) => {
    expect(() => countsOption('ranks', text, range)).toThrow(UserError);
    expect(() => countsOption('ranks', text, range)).toThrow(
      `--ranks: expected numbers from 2 to 64, such as 2,4, received "${text}"`,
    );
  });
});

it('says where the backend is named now when the device is not a number', () => {
  const given = { checkpoint: undefined, best: false, engine: 'tfjs', 'device-kind': 'auto', threads: 0 } as const;
  expect(engineOptionsOf({ ...given, device: 2 })).toMatchObject({ device: 2 });
  // What yargs makes of `--device wasm`.
  expect(() => engineOptionsOf({ ...given, device: Number.NaN })).toThrow(
    /^--device: expected the index of a device, .* Use --device-kind for the backend of the tfjs engine\.$/,
  );
  expect(() => engineOptionsOf({ ...given, device: -1 })).toThrow('--device: expected a whole number from 0 to 1023');
});

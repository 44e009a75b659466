/** A package without any engine: neither compiled nor prebuilt, and installed with `--omit=optional`, which leaves out TensorFlow.js and WebGPU. */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { join, sep } from 'node:path';
import { expect, it } from 'vitest';
import { packageRoot } from '../../src/base/packageRoot.ts';
import type { DoctorReport } from '../../src/cli/doctor.ts';
import { set, tiny, useFolder } from './launch.ts';

const folder = useFolder();

it('what needs no engine works, and what does says how to get one', () => {
  const own = join(folder(), 'node_modules', 'lockstep');
  const large = [join('dist', 'fonts'), join('dist', 'bpeRanks')].map((name) => join(packageRoot, name) + sep);
  for (const name of ['dist', 'native', 'binding.gyp', 'package.json', 'configs', 'data']) {
    cpSync(join(packageRoot, name), join(own, name), {
      recursive: true,
      filter: (source) => !large.some((excluded) => source.startsWith(excluded)),
    });
  }
  mkdirSync(join(own, 'node_modules'));
  for (const name of readdirSync(join(packageRoot, 'node_modules')))
    if (!name.startsWith('.') && name !== '@tensorflow' && name !== '@lockstep' && name !== 'webgpu')
      symlinkSync(join(packageRoot, 'node_modules', name), join(own, 'node_modules', name));
  const lockstep = (...words: string[]) =>
    spawnSync(process.execPath, [join(own, 'dist', 'cli', 'main.js'), ...words], { cwd: folder(), encoding: 'utf8' });

  const shown = lockstep('--version');
  expect(shown).toMatchObject({ status: 0, stderr: '' });
  expect(shown.stdout).toMatch(/^lockstep .*, engine none: `.* doctor` says how to get one\n$/);

  const cures = /no engine is available: .*compile it with .*; .*npm install .*@tensorflow\/tfjs-core@/;
  const doctor = lockstep('doctor', '--json');
  expect(doctor).toMatchObject({ status: 1, stderr: '' });
  const { auto, engines } = JSON.parse(doctor.stdout) as DoctorReport;
  expect(auto).toEqual({ missing: expect.stringMatching(cures) });
  for (const { available, install } of engines)
    expect([available, install]).toEqual([false, expect.stringMatching(/./)]);

  const planned = lockstep('--dry-run', ...set(...tiny));
  expect(planned).toMatchObject({ status: 0, stderr: '' });
  expect(planned.stdout).toMatch(/^memory /m);
  expect(planned.stdout).toMatch(new RegExp(`^time +not estimated: ${cures.source}`, 'm'));

  const trained = lockstep(...set(...tiny));
  expect(trained).toMatchObject({ status: 2 });
  expect(trained.stderr).toMatch(cures);
});

/** `launch doctor` as people run it: real engines in real processes. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import type { DoctorReport } from '../../src/cli/doctor.ts';

const LAUNCH = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

describe('launch doctor', () => {
  it('prints what works and what is missing as JSON, and ends with code 0', async () => {
    const { stdout } = await promisify(execFile)(process.execPath, [LAUNCH, 'doctor', '--json']);
    const report = JSON.parse(stdout) as DoctorReport;
    expect(report.machine.versions.node).toBe(process.versions.node);
    expect(report.auto).toMatchObject({ name: 'native' });
    const works = (name: string, deviceKind: string) =>
      report.engines.find((engine) => engine.name === name && engine.deviceKind === deviceKind)?.available;
    expect([works('native', 'cpu'), works('tfjs', 'wasm'), works('tfjs', 'cpu')]).toEqual([true, true, true]);
    for (const { available, detail, install } of report.engines) {
      expect(detail).not.toBe('');
      if (!available) expect(install).not.toBe('');
    }
  });
});

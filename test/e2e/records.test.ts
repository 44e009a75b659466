/** Pictures and records of real runs: plot, report, TensorBoard's event files, bench scaling. */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { XMLValidator } from 'fast-xml-parser';
import { beforeAll, describe, expect, it } from 'vitest';
import type { ScalingReport } from '../../src/bench/scalingBench.ts';
import { scalarsOf } from '../unit/records/eventReader.ts';
import { launch, lossesOf, set, tiny, useFolder } from './launch.ts';

const folder = useFolder();

async function isPng(path: string): Promise<boolean> {
  return (await readFile(path)).subarray(1, 4).toString() === 'PNG';
}

describe('records of a run', () => {
  beforeAll(async () => {
    const steps = (count: number) => set(...tiny, `train.maxSteps=${count}`, 'eval.everySteps=2');
    process.env['HOME'] = folder();
    const begun = await launch(['--workers', '2', '--run-dir', 'run', '--tensorboard', ...steps(4)], folder());
    expect(begun.code, begun.stderr).toBe(0);
    const resumed = await launch(['--resume', 'run', '--tensorboard', ...set('train.maxSteps=6')], folder());
    expect(resumed.code, resumed.stderr).toBe(0);
  });

  it('--tensorboard: every step of both sessions, once, as metrics.jsonl has them', async () => {
    const into = join(folder(), 'run/tensorboard');
    const names = (await readdir(into)).sort((a, b) => Number(a.split('.').at(-1)) - Number(b.split('.').at(-1)));
    expect(names).toHaveLength(2);
    const files = await Promise.all(names.map((name) => readFile(join(into, name))));
    const losses = await lossesOf(join(folder(), 'run'));
    expect(scalarsOf(files, 'loss')).toEqual(losses.map((loss, i) => [i + 1, Math.fround(loss)]));
    expect(scalarsOf(files, 'valLoss').map(([step]) => step)).toEqual([2, 4, 6]);
  });

  it('plot: SVG and PNG, of one run and of two', async () => {
    const one = await launch(['plot', 'run'], folder());
    expect(one).toMatchObject({ code: 0, stdout: 'loss.svg\n', stderr: '' });
    const svg = await readFile(join(folder(), 'loss.svg'), 'utf8');
    expect(XMLValidator.validate(svg)).toBe(true);
    expect(svg).toContain('>validation<');
    const two = await launch(
      ['plot', 'run', 'run', '--metric', 'gradNorm', '--smooth', '--out', '~/new/two.png'],
      folder(),
    );
    expect(two).toMatchObject({ code: 0, stderr: '' });
    expect(await isPng(join(folder(), 'new/two.png'))).toBe(true);
  });

  it('plot: says what is wrong', async () => {
    const wrong = async (...args: string[]) => {
      const { code, stderr } = await launch(['plot', ...args], folder());
      expect(code).toBe(2);
      return stderr;
    };
    expect(await wrong('run', '--out', 'x.pdf')).toContain('ends with .svg or .png, received "x.pdf"');
    expect(await wrong('nowhere')).toContain('metrics.jsonl does not exist');
    expect(await wrong('run', '--smooth', '1')).toContain('--smooth: expected a number from 0 to');
    await mkdir(join(folder(), 'empty'));
    await writeFile(join(folder(), 'empty/metrics.jsonl'), '');
    expect(await wrong('empty')).toContain('no loss to plot');
  });

  it('report: a page with everything, that asks for nothing', async () => {
    const { code, stdout, stderr } = await launch(['report', 'run'], folder());
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: 'run/report.html\n', stderr: '' });
    const page = await readFile(join(folder(), 'run/report.html'), 'utf8');
    expect((await launch(['report', 'run', '--out', '~/new/page.html'], folder())).code).toBe(0);
    expect(await readFile(join(folder(), 'new/page.html'), 'utf8')).toContain('Training loss');
    for (const part of ['Training loss', 'Where a step goes', 'Events', 'nEmbd: 32', 'Report made on'])
      expect(page).toContain(part);
    expect(page).not.toMatch(/<script|<img|<link|href=|src=/);
  });
});

describe('bench scaling', () => {
  const sizes = set('model.nLayer=2', 'model.nHead=2', 'model.nEmbd=32', 'model.blockSize=16');
  const short = ['--batch', '2', '--steps', '2', '--out', 'out'];

  it.each(['simulated', 'real'] as const)(
    '%s device: table, pictures and page; nothing is left behind',
    async (device) => {
      const cwd = join(folder(), device);
      await mkdir(cwd);
      const given = ['bench', 'scaling', '--workers', '2,1', '--device', device, '--compute-ms', '5'];
      const { code, stdout, stderr, orphans } = await launch([...given, ...short, ...sizes], cwd);
      expect(code, stderr).toBe(0);
      expect(orphans).toEqual([]);
      expect(await readdir(cwd)).toEqual(['out']);
      expect(stdout).toMatch(device === 'simulated' ? /simulated device, 5 ms a sample/ : /real device: (native|tfjs)/);
      expect(stdout.match(/^(weak|strong) /gm)).toHaveLength(8);
      const report = JSON.parse(await readFile(join(cwd, 'out/bench.json'), 'utf8')) as ScalingReport;
      expect(report).toMatchObject({ device, steps: 2, blockSize: 16 });
      const rows = report.results.map(({ mode, workers, globalBatchSize }) => [mode, workers, globalBatchSize]);
      expect(rows).toEqual([
        ['weak', 1, 2],
        ['weak', 2, 4],
        ['strong', 1, 4],
        ['strong', 2, 4],
      ]);
      for (const { workers, efficiency, overlapWon, stepMs, phaseMs, globalBatchSize } of report.results) {
        expect(workers > 1 || efficiency === 1).toBe(true);
        expect(overlapWon === undefined).toBe(workers === 1);
        expect(phaseMs).toHaveLength(6);
        expect(stepMs).toBeGreaterThan(0);
        // A wait is never shorter than it was asked to be.
        if (device === 'simulated') expect(phaseMs[1]).toBeGreaterThanOrEqual((5 * globalBatchSize) / workers - 0.5);
      }
      const pictures = ['tokens', 'efficiency', 'communication', 'overlap', 'phases-weak', 'phases-strong'];
      for (const name of pictures) {
        expect(XMLValidator.validate(await readFile(join(cwd, `out/${name}.svg`), 'utf8'))).toBe(true);
        expect(await isPng(join(cwd, `out/${name}.png`))).toBe(true);
      }
      const page = await readFile(join(cwd, 'out/bench.html'), 'utf8');
      expect(page).toContain(`Scaling, ${device} device`);
      expect(page).not.toMatch(/<script|<img|<link|href=|src=/);
    },
  );
});

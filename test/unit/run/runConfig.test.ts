/** The config of a run that is resumed, as a full disk or a copy that was interrupted may leave it. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { renderConfig } from '../../../src/config/render.ts';
import { configSchema } from '../../../src/config/schema.ts';
import { prepareRun } from '../../../src/run/prepareRun.ts';
import { checkRunConfig } from '../../../src/run/runConfig.ts';
import { RunFolder } from '../../../src/run/runFolder.ts';

const config = configSchema.parse({ train: { maxSteps: 1234 } });
const whole = renderConfig(config);
let cwd = '';
beforeEach(() => {
  cwd = mkdtempSync(join(tmpdir(), 'lockstep-config-'));
});
afterEach(() => rmSync(cwd, { recursive: true }));

function check(text: string): void {
  writeFileSync(join(cwd, 'config.yaml'), text);
  checkRunConfig(new RunFolder(cwd), cwd);
}

it('is taken when it is complete, as rendered or as JSON', () => {
  check(whole);
  check(JSON.stringify(config));
});

it.each([
  ['', 'it is empty'],
  ['\n', 'it is empty'],
  [whole.slice(0, whole.indexOf('maxSteps: 1234') + 'maxSteps: 12'.length), /it ends in the middle of line \d+/],
  [whole.slice(0, whole.indexOf('\neval:') + 1), 'it has no eval: sample: engine: comm:'],
  [`${whole.slice(0, whole.indexOf('\ncomm:'))}\ncomm:\n`, 'it has no comm:'],
])('is refused where a part is missing (%#)', (text, problem) => {
  expect(() => check(text)).toThrow(/^config\.yaml is incomplete: .* trainer\.json of the newest checkpoint/);
  expect(() => check(text)).toThrow(problem);
});

it('is looked at before a run is resumed', async () => {
  writeFileSync(join(cwd, 'config.yaml'), '');
  const messages = { note: () => {}, warn: () => {}, progress: () => () => {} };
  const args = { resume: cwd, singleProcess: false, encrypt: true, dryRun: true };
  await expect(prepareRun(args, cwd, messages)).rejects.toThrow('config.yaml is incomplete: it is empty');
});

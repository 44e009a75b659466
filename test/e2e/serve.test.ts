/** `launch serve` and `launch chat` as commands, and the texts that `launch generate` draws together. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { packageRoot } from '../../src/base/packageRoot.ts';
import { trainRun } from '../unit/run/trainedModel.ts';

const main = join(packageRoot, 'dist/cli/main.js');
let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lockstep-test-'));
  await (await trainRun(join(folder, 'run'))).dispose();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function launch(args: readonly string[], input = '') {
  return spawnSync(process.execPath, [main, ...args], { cwd: folder, encoding: 'utf8', input });
}

const drawn = ['--temperature', '1', '--top-k', '0', '--max-tokens', '300'];

test('serve prints where it is, gives the text of generate, and ends in order on SIGTERM', async () => {
  const server = spawn(process.execPath, [main, 'serve', 'run', '--port', '0'], { cwd: folder });
  const exited = once(server, 'exit');
  let output = '';
  for (const stream of [server.stdout, server.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  while (!/serving run at http:\S+/.test(output)) {
    await Promise.race([once(server.stdout, 'data'), exited.then(() => expect.unreachable(output))]);
  }
  const url = /http:\S+/.exec(output)![0];
  const page = await (await fetch(url)).text();
  for (const [, asset] of page.matchAll(/(?:href|src)="(\/[^"]+)"/g))
    expect((await fetch(new URL(asset!, url))).status).toBe(200);
  const response = await fetch(new URL('/v1/completions', url), {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'run', prompt: 'the ', seed: 7, max_tokens: 300, stream: true }),
  });
  server.kill('SIGTERM');
  const events = (await response.text()).split('\n\n').filter((event) => event.startsWith('data: '));
  expect(events.pop()).toBe('data: [DONE]');
  const texts = events.map((event) => (JSON.parse(event.slice(6)) as { choices: { text: string }[] }).choices[0]!.text);
  expect(await exited, output).toEqual([0, null]);
  const generated = launch(['generate', '--checkpoint', 'run', '--prompt', 'the ', '--seed', '7', ...drawn]);
  expect(`the ${texts.join('')}\n`).toBe(generated.stdout);
});

test('chat continues line after line of a pipe, and sees what went before, up to /clear', () => {
  const input = 'the cat\n\nsat\n/clear\nthe cat\n\n';
  const { status, stdout, stderr } = launch(['chat', 'run', '--max-tokens', '5', '--greedy'], input);
  expect(status, stderr).toBe(0);
  expect(stdout).toMatch(/^(.{5}\n.{5}\n).{5}\n\1$/);
});

test('chat says which line it cannot continue, and continues with the next', () => {
  // The second message has a line break, which the model does not know either.
  const input = '\u0416\nthe\\\ncat\nthe cat\n';
  const { status, stdout, stderr } = launch(['chat', 'run', '--max-tokens', '5', '--greedy'], input);
  expect(stderr).toMatch(/warning: this line gets no answer: .*\u0416.*\nwarning: this line gets no answer: .*U\+000A/);
  expect(stdout).toMatch(/^.{5}\n$/);
  expect(status).toBe(2);
});

test('generate draws several texts from a file, each as alone, up to a stop text', () => {
  writeFileSync(join(folder, 'start.txt'), 'the ');
  const options = ['generate', '--checkpoint', 'run', '--prompt-file', 'start.txt', '--stop', 'a', ...drawn];
  const { status, stdout, stderr } = launch([...options, '--num-samples', '3', '--seed', '4']);
  expect(status, stderr).toBe(0);
  const samples = stdout.split('\n---------------\n');
  expect(samples).toHaveLength(3);
  expect(samples[2]).toBe(launch([...options, '--seed', '6']).stdout);
  for (const sample of samples) expect(sample).not.toContain('a');
  const clash = launch([...options, '--greedy']);
  expect(clash).toMatchObject({ status: 2, stderr: expect.stringContaining('--greedy does not sample') });
});

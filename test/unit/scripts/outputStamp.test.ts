import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { packageRoot } from '../../../src/base/packageRoot.ts';

// A script, which has no types.
const { hashOf, isCurrent, makeStamped } = await import(join(packageRoot, 'scripts', 'outputStamp.mjs'));

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'lockstep-stamp-'));
  mkdirSync(join(root, 'native', 'kernels'), { recursive: true });
  writeFileSync(join(root, 'native', 'kernels', 'a.cc'), 'int a;');
  writeFileSync(join(root, 'binding.gyp'), '{}');
});
afterEach(() => rmSync(root, { recursive: true }));

const hash = (facts: string[] = ['115']) => hashOf(root, ['native', 'binding.gyp', 'absent'], facts);

it('is another for another source, name or fact, and the same for the same', () => {
  const first = hash();
  expect(hash()).toBe(first);
  expect(hash(['127'])).not.toBe(first);
  writeFileSync(join(root, 'native', 'b.cc'), '');
  const second = hash();
  expect(second).not.toBe(first);
  writeFileSync(join(root, 'native', 'kernels', 'a.cc'), 'int b;');
  expect(hash()).not.toBe(second);
});

it('says that an output is current when it was made of the same, to the end', async () => {
  const [output, stamp] = [join(root, 'out'), join(root, 'out.stamp')];
  expect(isCurrent([output], stamp, hash())).toBe(false);
  const made = hash();
  await makeStamped(stamp, made, async () => {
    writeFileSync(output, '');
    return true;
  });
  expect(isCurrent([output], stamp, made)).toBe(true);
  expect(isCurrent([output], stamp, 'another')).toBe(false);
  await makeStamped(stamp, made, async () => {
    expect(isCurrent([output], stamp, made)).toBe(false);
    return false;
  });
  expect(existsSync(stamp)).toBe(false);
  rmSync(output);
  writeFileSync(stamp, made);
  expect(isCurrent([output], stamp, made)).toBe(false);
});

/** prepare.mjs in a folder of its own, with a transform and a compiler that are these programs. @returns its path */
function prepareWith(transform: string, compiler = ''): string {
  const scripts = join(root, 'scripts');
  mkdirSync(scripts);
  for (const name of ['prepare.mjs', 'transpile.mjs', 'outputStamp.mjs', 'buildTools.mjs'])
    copyFileSync(join(packageRoot, 'scripts', name), join(scripts, name));
  for (const name of ['write-commit.mjs', 'finish-build.mjs']) writeFileSync(join(scripts, name), '');
  for (const [name, file, program] of [
    ['oxc-transform', 'index.js', `exports.transform = ${transform};`],
    ['typescript', 'bin/tsc', compiler],
  ] as const) {
    const path = join(root, 'node_modules', name, file);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, program);
    writeFileSync(join(root, 'node_modules', name, 'package.json'), '{}');
  }
  for (const [name, text] of [
    ['src/cli/main.ts', 'main'],
    ['src/index.d.ts', 'declared'],
    ['examples/train.ts', 'train'],
  ] as const) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  return join(scripts, 'prepare.mjs');
}

it('builds again when the examples are gone, as after node-gyp, and only then', () => {
  const transform = "async (_, code) => (console.log('it was built'), { code, map: { sources: [] }, errors: [] })";
  const script = prepareWith(transform);
  const prepare = () => {
    const { status, stdout } = spawnSync(process.execPath, [script], { encoding: 'utf8' });
    expect(status).toBe(0);
    return stdout.includes('it was built');
  };
  expect([prepare(), prepare()]).toEqual([true, false]);
  rmSync(join(root, 'build'), { recursive: true });
  expect([prepare(), prepare()]).toEqual([true, false]);
  // As after `npm ci --omit=dev`, which brings no compiler of the declarations.
  rmSync(join(root, 'node_modules', 'typescript'), { recursive: true });
  expect([prepare(), prepare()]).toEqual([true, false]);
  expect(readFileSync(join(root, 'dist', 'cli', 'main.js'), 'utf8')).toBe('main//# sourceMappingURL=main.js.map\n');
  expect(JSON.parse(readFileSync(join(root, 'dist', 'cli', 'main.js.map'), 'utf8'))).toEqual({
    file: 'main.js',
    sources: ['../../src/cli/main.ts'],
  });
  expect(existsSync(join(root, 'dist', 'index.d.js'))).toBe(false);
});

it('a compiler or a transform that fails leaves no stamp, and its exit code', () => {
  const good =
    "async (name, code) => ({ code, map: {}, errors: name.endsWith('bad.ts') ? [{ message: 'wrong' }] : [] })";
  const script = prepareWith(good, 'process.exitCode = 3');
  mkdirSync(join(root, 'dist'));
  writeFileSync(join(root, 'dist', 'build.stamp'), 'old');
  expect(spawnSync(process.execPath, [script]).status).toBe(3);
  writeFileSync(join(root, 'src', 'bad.ts'), '');
  const { status, stderr } = spawnSync(process.execPath, [script], { encoding: 'utf8' });
  expect(status).toBe(1);
  expect(stderr).toContain(`${join(root, 'src', 'bad.ts')}: wrong`);
  expect(existsSync(join(root, 'dist', 'build.stamp'))).toBe(false);
});

it('does not outlive a script that writes dist/ by itself', () => {
  const { scripts } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8'));
  const writing = Object.entries<string>(scripts).filter(([, command]) =>
    /tsconfig\.build\.json(?! --noEmit)/.test(command),
  );
  expect(writing.map(([name]) => name)).toEqual(['docs:config']);
  for (const [name, command] of writing) {
    expect(command, name).toMatch(/^node -e "fs\.rmSync\('dist\/build\.stamp',\{force:true\}\)" && /);
  }
});

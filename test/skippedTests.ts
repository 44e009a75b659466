/**
 * Reporter for CI (`.ci/run`): a test that was skipped and is not expected here fails the run. So a browser, a terminal or a right
 * that a machine lacks is found out, and takes no tests away unseen. Those who run the tests by hand are not asked.
 */
import { relative } from 'node:path';
import type { Reporter, TestModule } from 'vitest/node';

interface ExpectedSkip {
  /** The test's file, as seen from the root. */
  readonly file: string;
  /** Which tests of the file; absent: all. */
  readonly name?: RegExp;
  readonly reason: string;
}

const webgpu = 'needs packages that npm does not install; scripts/ciWebgpu.sh runs it, and there it may not be skipped';
const shakespeare = 'the text is not in the repository; other tests compare the same functions on the built-in text';

const expectedSkips: readonly ExpectedSkip[] = [
  { file: 'test/parity/kernels/webgpu.test.ts', reason: webgpu },
  { file: 'test/parity/model/webgpu.test.ts', reason: webgpu },
  {
    file: 'test/fault/namespaces.test.ts',
    name: /by netem$/,
    reason: 'not in every kernel; nft and tbf lose packets too',
  },
  {
    file: 'test/parity/kernels/updateBits.test.ts',
    name: /^AdamW gives the same bits/,
    reason: 'compares instruction sets of one machine: ARM has one, and old processors of x86 too',
  },
  { file: 'test/unit/data/tokenizers/tokenizer.test.ts', name: /tiny shakespeare/, reason: shakespeare },
  { file: 'test/unit/data/dataset.test.ts', name: /tiny shakespeare/, reason: shakespeare },
];

export default class SkippedTests implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const unexpected: string[] = [];
    for (const module of modules) {
      const file = relative(module.project.config.root, module.moduleId);
      for (const test of module.children.allTests('skipped')) {
        const isExpected = expectedSkips.some(
          (expected) => expected.file === file && (expected.name?.test(test.fullName) ?? true),
        );
        const result = test.result();
        const note = result.state === 'skipped' && result.note !== undefined ? ` (${result.note})` : '';
        if (!isExpected) unexpected.push(`${file}: ${test.fullName}${note}`);
      }
    }
    if (unexpected.length === 0) return;
    process.stderr.write(`skipped, though test/skippedTests.ts does not expect it:\n  ${unexpected.join('\n  ')}\n`);
    process.exitCode = 1;
  }
}

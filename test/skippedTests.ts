/**
 * Reporter for CI (`.ci/run`): a test that was skipped and is not expected here fails the run. So a browser, a terminal or a right
 * that a machine lacks is found out, and takes no tests away unseen. Those that are expected are counted, with the reason. Those who
 * run the tests by hand are not asked.
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

export const isNightly = process.env['LOCKSTEP_NIGHTLY'] === '1';

const webgpu =
  'needs a GPU or its software driver, and tfjs also a package; scripts/ciWebgpu.sh runs it, and there it may not be skipped';

/** Cases of `nightlyIt` (test/nightly.ts), each by its full name: nothing but the time of day may skip them, and no others. */
const nightlyCases: readonly Omit<ExpectedSkip, 'reason'>[] = [
  { file: 'test/parity/kernels/tfjsCpu.test.ts' },
  {
    file: 'test/unit/model/bandit.test.ts',
    name: whole(
      'the best policy of a bandit near the reference > is found by GRPO',
      'the best policy of a bandit near the reference > is found by PPO',
    ),
  },
  {
    file: 'test/cluster/slurm.test.ts',
    name: whole('Slurm > node 0 dies after another node; its host answers, and Slurm itself finds it dead: requeued'),
  },
  {
    file: 'test/e2e/examples.test.ts',
    name: whole('assistant: the reward rises with PPO and GRPO, and what annotators like with it'),
  },
  {
    file: 'test/e2e/rollouts.test.ts',
    name: whole(
      'PPO of given weights compares with them, also in workers that come later, and resumes within an iteration',
    ),
  },
  {
    file: 'test/simulator/simulator.test.ts',
    name: whole('a run of 256 workers, in virtual time > keeps it with 200 seeds'),
  },
  {
    file: 'test/fault/namespaces.test.ts',
    name: whole(
      'machines > three of them train together',
      'machines > a worker behind a cut says so and ends when it may wait no longer; another is let in after the mend',
      'machines > a worker behind a cut that is asked to leave: it does when it reaches the coordinator again',
      'machines > the cable of the coordinator: its own workers continue, and the others come back',
      'machines > cuts that are shorter than the deadline are ridden out',
      'machines > a slow or lossy way to a machine, by netem',
      'machines > a slow or lossy way to a machine, by tbf',
    ),
  },
  {
    file: 'test/fault/otherAddress.test.ts',
    name: whole(
      'machines > a worker starts early, is killed, and loses its coordinator, which returns elsewhere after 20 s: no step is lost',
    ),
  },
  {
    file: 'test/e2e/packages.test.ts',
    name: whole(
      'a project that installs Lockstep has the prebuilt engine, and no warning, by import and by require',
      'the TypeScript project of the library guide checks and runs, in a project of npm init',
      'without the prebuilt engine and a compiler it is installed, and each run and program says what to do',
      'with --omit=optional and without a compiler it has no engine, and says what to do',
      'an engine of the same name and version that this release was not made with is not loaded',
      'npm install -g, of the release and of a checkout: launch and lockstep are commands',
      'the same sources give the same bytes',
      'engine:add takes the engine out of a package, and refuses one of other sources',
      'a clone that is installed with --omit=dev, without a compiler, builds and trains on a prebuilt engine',
    ),
  },
  {
    file: 'test/parity/kernels/webgpuParts.test.ts',
    name: whole('tensors in parts > the token embedding of GPT-2 as a weight of either layout'),
  },
  {
    file: 'test/parity/kernels/webgpuProduct.test.ts',
    name: /^programs of products > (?:tile \d+ × \d+ × \d+|tiles at edges, .*)$/,
  },
  {
    file: 'test/e2e/learnedTasks.test.ts',
    name: whole(
      'instructions: reverse a word, write it in capitals, count its letters > 99 % of the answers about unseen words are right, and all end by themselves',
      'instructions: reverse a word, write it in capitals, count its letters > without the end token among the targets, no answer ends',
      "sorting > minGPT's demo: 6 digits of 3 values, on sequences that it has not seen",
      'sorting > 8 digits of 4 values, with three seeds, on 3,000 sequences each that it has not seen',
      ...['copies', 'reversals'].map(
        (what) =>
          `copying and reversing 10 symbols of 10, by an encoder and a decoder > ${what} of 1,000 sequences that it has not seen`,
      ),
      'spam among text messages > a classifier from random weights, on 1,000 unseen messages, with three seeds',
    ),
  },
  {
    file: 'test/fault/survive.test.ts',
    name: whole(
      ...['reduceScatter', 'afterCommit', 'checkpoint'].map((moment) => `SIGKILL ${moment}`),
      ...['forward', 'allGather', 'beforeCommit', 'optimizer', 'checkpoint'].map((moment) => `SIGSTOP ${moment}`),
    ),
  },
  {
    file: 'test/fault/resumeCoordinator.test.ts',
    name: whole(
      ...['forward', 'reduceScatter', 'allGather', 'optimizer', 'checkpoint', 'evaluate'].map(
        (moment) => `killed at a moment of a step, ${moment}: all its workers continue`,
      ),
    ),
  },
  {
    file: 'test/parity/kernels/webgpuAttention.test.ts',
    name: whole(
      'attention of the webgpu engine > in the tiles of real GPUs: T=70 HS=5 dropout +0',
      'attention of the webgpu engine > in the tiles of real GPUs: T=70 HS=12 dropout +0',
      'attention of the webgpu engine > in the tiles of real GPUs: T=130 HS=40 dropout 0.2',
      'attention of the webgpu engine > in the tiles of real GPUs: T=130 HS=5 dropout +0',
      'attention of the webgpu engine > in the tiles of real GPUs: T=100 HS=40 dropout 0.2',
      'attention of the webgpu engine > ranges of keys in the tiles of real GPUs: Tq=70 Tk=130 HS=12 dropout 0.2',
      'attention of the webgpu engine > ranges of keys in the tiles of real GPUs: Tq=70 Tk=40 HS=5 dropout +0',
    ),
  },
];

/** Matches these names and nothing else. */
function whole(...names: readonly string[]): RegExp {
  return new RegExp(`^(?:${names.map((name) => name.replace(/[^\w ]/g, '\\$&')).join('|')})$`);
}

const expectedSkips: readonly ExpectedSkip[] = [
  ...(isNightly ? [] : nightlyCases.map((cases) => ({ ...cases, reason: 'scripts/nightly.sh runs it' }))),
  {
    file: 'test/e2e/learnedTasks.test.ts',
    name: /^spam among text messages > /,
    reason: 'needs the SMS Spam Collection, ../shared/data/sms-spam.tsv',
  },
  { file: 'test/e2e/webgpu.test.ts', reason: webgpu },
  { file: 'test/e2e/webgpuLosses.test.ts', reason: `${webgpu}, at night` },
  { file: 'test/parity/kernels/tfjsWebgpu.test.ts', reason: webgpu },
  { file: 'test/parity/kernels/webgpuAttention.test.ts', reason: webgpu },
  { file: 'test/parity/kernels/webgpuEngine.test.ts', reason: webgpu },
  { file: 'test/parity/kernels/webgpuParts.test.ts', reason: webgpu },
  { file: 'test/parity/kernels/webgpuProduct.test.ts', reason: webgpu },
  { file: 'test/parity/kernels/webgpuSoftFloat.test.ts', reason: webgpu },
  { file: 'test/parity/kernels/webgpuUpdate.test.ts', reason: webgpu },
  { file: 'test/parity/webgpu/commands.test.ts', reason: webgpu },
  {
    file: 'test/parity/webgpu/matrixUnits.test.ts',
    reason: `${webgpu}; it also needs matrix units: scripts/matrixUnits.sh`,
  },
  { file: 'test/parity/webgpu/peers.test.ts', reason: webgpu },
  { file: 'test/parity/webgpu/timings.test.ts', reason: webgpu },
  { file: 'test/parity/webgpu/unlikeWorkers.test.ts', reason: webgpu },
  { file: 'test/parity/model/tfjsWebgpu.test.ts', reason: webgpu },
  { file: 'test/parity/model/webgpuEngine.test.ts', reason: webgpu },
  { file: 'test/parity/model/webgpuTraining.test.ts', reason: webgpu },
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
];

export default class SkippedTests implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const unexpected: string[] = [];
    const counts = new Map<ExpectedSkip, number>();
    for (const module of modules) {
      const file = relative(module.project.config.root, module.moduleId);
      for (const test of module.children.allTests('skipped')) {
        const expected = expectedSkips.find((skip) => skip.file === file && (skip.name?.test(test.fullName) ?? true));
        const result = test.result();
        const note = result.state === 'skipped' && result.note !== undefined ? ` (${result.note})` : '';
        if (expected === undefined) unexpected.push(`${file}: ${test.fullName}${note}`);
        else counts.set(expected, (counts.get(expected) ?? 0) + 1);
      }
    }
    for (const [{ file, reason }, count] of counts) process.stdout.write(`${count} skipped in ${file}: ${reason}\n`);
    if (unexpected.length === 0) return;
    process.stderr.write(`skipped, though test/skippedTests.ts does not expect it:\n  ${unexpected.join('\n  ')}\n`);
    process.exitCode = 1;
  }
}

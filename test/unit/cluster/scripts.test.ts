import { spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { z } from 'zod';
import { renderScript } from '../../../src/cluster/scripts/render.ts';
import {
  jobName,
  type ScriptKind,
  type ScriptOptions,
  scriptKinds,
} from '../../../src/cluster/scripts/scriptOptions.ts';
import { checkKubernetesObject } from './kubernetesObjects.ts';

// biome-ignore lint/suspicious/noExplicitAny: schemas check the manifests before a test reads them
type Manifest = Record<string, any>;

// biome-ignore lint/suspicious/noTemplateCurlyInString: what a shell, Kubernetes and Compose would replace
const hostile = ["data.text=it's $(touch x) ${HOME} `id`.txt", 'on', '1:30', 'ü\n# x'];

const plain: ScriptOptions = {
  name: 'gpt-small',
  nodes: 4,
  runDir: 'runs/gpt-small',
  trainWords: ['--config=gpt-small', '--min-workers=2'],
  program: 'npx launch',
  image: 'registry.example.org/lockstep:0.3',
  cpus: 8,
  memory: '16Gi',
  storage: '20Gi',
};
const odd: ScriptOptions = {
  ...plain,
  nodes: 1,
  runDir: "runs/it's",
  trainWords: [...hostile, 'comm.joinTimeoutMs=5'].map((word) => `--set=${word}`),
  cpus: undefined,
  memory: undefined,
};

function documents(kind: ScriptKind, options: ScriptOptions) {
  const all = parseAllDocuments(renderScript(kind, options), { version: '1.1' });
  if (!Array.isArray(all)) throw new Error('no documents');
  return all.map((document) => {
    expect(document.errors).toEqual([]);
    return document.toJS() as Manifest;
  });
}

/** The part of JobSet's published schema (jobset.x-k8s.io_jobsets.yaml of release 0.9) that the manifest uses, written by hand. */
const jobSetSchema = z.strictObject({
  apiVersion: z.literal('jobset.x-k8s.io/v1alpha2'),
  kind: z.literal('JobSet'),
  metadata: z.strictObject({ name: z.string().regex(/^[a-z]([-a-z0-9]*[a-z0-9])?$/) }),
  spec: z.strictObject({
    network: z.strictObject({ enableDNSHostnames: z.boolean(), publishNotReadyAddresses: z.boolean() }),
    successPolicy: z.strictObject({ operator: z.enum(['All', 'Any']), targetReplicatedJobs: z.array(z.string()) }),
    failurePolicy: z.strictObject({
      maxRestarts: z.int32().min(0),
      rules: z.array(
        z.strictObject({
          name: z.string().regex(/^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$/),
          action: z.enum(['FailJobSet', 'RestartJobSet', 'RestartJobSetAndIgnoreMaxRestarts']),
          targetReplicatedJobs: z.array(z.string()).optional(),
          onJobFailureReasons: z.array(z.enum(['BackoffLimitExceeded', 'FailedIndexes', 'PodFailurePolicy'])),
        }),
      ),
    }),
    replicatedJobs: z.array(
      z.strictObject({
        name: z.string(),
        replicas: z.int32().min(1),
        template: z.strictObject({ spec: z.looseObject({}) }),
      }),
    ),
  }),
});

function replicatedJobs(options: ScriptOptions) {
  const [, jobSet] = documents('jobset', options);
  return jobSetSchema.parse(jobSet).spec.replicatedJobs.map(({ name, replicas, template }) => {
    const job = { apiVersion: 'batch/v1', kind: 'Job', spec: template.spec };
    checkKubernetesObject(job);
    return { name, replicas, spec: template.spec as Manifest };
  });
}

describe('manifests of Kubernetes', () => {
  it.each([plain, odd])('are what its published schemas accept', (options) => {
    const [claim, service, job] = documents('job', options);
    for (const object of [claim, service, job]) checkKubernetesObject(object ?? {});
    const [ownClaim] = documents('jobset', options);
    checkKubernetesObject(ownClaim ?? {});
    expect(replicatedJobs(options).map(({ name, replicas }) => [name, replicas])).toEqual(
      options.nodes === 1
        ? [['coordinator', 1]]
        : [
            ['coordinator', 1],
            ['worker', 3],
          ],
    );
  });

  it('a wrong field does not pass', () => {
    const wrong = (from: string, to: string) => () => {
      const text = renderScript('job', plain);
      expect(text).toContain(from);
      const changed = parseAllDocuments(text.replaceAll(from, to)).map((document) => document.toJS());
      for (const object of changed) checkKubernetesObject(object);
    };
    expect(wrong('podFailurePolicy', 'podFailurePolicies')).toThrow('Job.spec.podFailurePolicies: unknown key');
    expect(wrong('onExitCodes', 'onExitCode')).toThrow('Job.spec.podFailurePolicy.rules[0].onExitCode: unknown key');
    expect(wrong('claimName', 'claim')).toThrow(/claimName/);
    expect(wrong('parallelism: 4', 'parallelism: four')).toThrow(/parallelism/);
    expect(wrong('action: Ignore', 'action: Forgive')).toThrow(/action/);
    expect(wrong('memory: 16Gi', 'memory: 16GiB')).toThrow(/memory/);
    const [, jobSet] = documents('jobset', plain);
    expect(() => jobSetSchema.parse({ ...jobSet, spec: { ...jobSet?.['spec'], jobs: [] } })).toThrow(/jobs/);
  });

  it('an eviction (85) costs no attempt, and only node 0 of a JobSet has the volume and the run key', () => {
    const [coordinator, worker] = replicatedJobs(plain);
    for (const spec of [coordinator?.spec, worker?.spec]) {
      expect(spec?.['podFailurePolicy']['rules'].at(-2)).toMatchObject({
        action: 'Ignore',
        onExitCodes: { values: [85] },
      });
      expect(spec?.['template']['spec']['terminationGracePeriodSeconds']).toBe(120);
      expect(spec?.['template']['spec']['tolerations']).toContainEqual({
        key: 'node.kubernetes.io/unreachable',
        operator: 'Exists',
        effect: 'NoExecute',
        tolerationSeconds: 30,
      });
    }
    const pod = (job: typeof coordinator) => job?.spec['template'].spec;
    const keys = (job: typeof coordinator) =>
      JSON.stringify(pod(job).containers[0].env.filter(({ name }: { name: string }) => /KEY/.test(name)));
    expect(keys(coordinator)).toContain('run.key');
    expect(keys(worker)).not.toContain('run.key');
    expect(keys(worker)).toContain('join.key');
    expect(pod(coordinator).volumes).toEqual([{ name: 'data', persistentVolumeClaim: { claimName: 'gpt-small' } }]);
    expect(pod(worker).volumes).toEqual([{ name: 'data', emptyDir: {} }]);
    const env: Manifest = Object.fromEntries(pod(worker).containers[0].env.map((v: { name: string }) => [v.name, v]));
    expect(env['LOCKSTEP_COORDINATOR'].value).toBe('gpt-small-coordinator-0-0.gpt-small:5555');
    expect(env['LOCKSTEP_NODES'].value).toBe('4');
    expect(env['LOCKSTEP_NODE_RANK'].valueFrom.fieldRef.fieldPath).toBe(
      "metadata.annotations['jobset.sigs.k8s.io/job-global-index']",
    );
    expect(pod(worker).containers[0].args).toEqual([
      ...['cluster', '--run-dir=runs/gpt-small', '--config=gpt-small', '--min-workers=2'],
      ...['--set=comm.rejoinTimeoutMs=600000', '--set=comm.joinTimeoutMs=600000'],
    ]);
  });

  it('wrong input (2) ends a job at once, in whichever pod it is found', () => {
    const [, jobSet] = documents('jobset', plain);
    const [, , indexed] = documents('job', plain);
    const jobs = [...replicatedJobs(plain).map((job) => job.spec), indexed?.['spec']];
    expect(jobs).toHaveLength(3);
    for (const { podFailurePolicy } of jobs) {
      const [first] = podFailurePolicy.rules;
      expect(first).toMatchObject({ action: 'FailJob', onExitCodes: { operator: 'In', values: [2] } });
    }
    const [rule] = jobSetSchema.parse(jobSet).spec.failurePolicy.rules;
    expect(rule).toMatchObject({ action: 'FailJobSet' });
    expect(rule?.targetReplicatedJobs).toBeUndefined();
    expect(rule?.onJobFailureReasons).toEqual(['PodFailurePolicy']);
    expect(documents('compose', plain)[0]?.['services']['node-0'].restart).toBe('on-failure:10');
  });

  it('the pods of an Indexed Job find node 0 by the headless Service', () => {
    const [claim, service, job] = documents('job', plain);
    expect(claim?.['spec'].accessModes).toEqual(['ReadWriteMany']);
    expect(service?.['spec']).toEqual({
      clusterIP: 'None',
      publishNotReadyAddresses: true,
      selector: { 'job-name': 'gpt-small' },
    });
    expect(job?.['spec']).toMatchObject({ completions: 4, parallelism: 4, backoffLimitPerIndex: 10 });
    const pod = job?.['spec'].template.spec;
    expect(pod.subdomain).toBe(service?.['metadata'].name);
    expect(pod.containers[0].env).toContainEqual({ name: 'LOCKSTEP_COORDINATOR', value: 'gpt-small-0.gpt-small:5555' });
  });
});

describe('words of the run', () => {
  it('arrive as typed: no shell, Kubernetes or Compose replaces them', () => {
    for (const kind of ['job', 'compose'] as const) {
      const text = JSON.stringify(documents(kind, odd));
      for (const word of hostile) expect(text).toContain(JSON.stringify(`--set=${word}`.replaceAll('$', '$$$$')));
    }
    for (const kind of ['slurm', 'mpi'] as const) {
      // Commands become functions that print their words; the job is requeued.
      const tools = 'rm() { :; }; srun() { npx "$@"; }; mpirun() { npx "$@"; }; scontrol() { :; }';
      const program = 'npx() { while [ "$1" != launch ]; do shift; done; printf "%s\\0" "$@"; }';
      const shell = spawnSync('bash', ['-c', `${tools}\n${program}\n${renderScript(kind, odd)}`], { encoding: 'utf8' });
      expect(shell.stderr).toBe('');
      expect(shell.stdout.split('\0')).toEqual([
        ...['launch', 'cluster', "--run-dir=runs/it's", ...odd.trainWords, ''],
      ]);
    }
  });

  it('a chosen time stays', () => {
    const [, , job] = documents('job', odd);
    const args: string[] = job?.['spec'].template.spec.containers[0].args;
    expect(args.filter((word) => word.startsWith('--set=comm.'))).toEqual([
      '--set=comm.joinTimeoutMs=5',
      '--set=comm.rejoinTimeoutMs=600000',
    ]);
  });
});

describe('scripts that pass signals on', () => {
  /** Runs a script in an empty folder. @param tools functions in place of commands @returns its exit code */
  async function codeOf(kind: 'slurm' | 'mpi', tools: string): Promise<number | null> {
    const cwd = await mkdtemp(join(tmpdir(), 'lockstep-script-'));
    try {
      return spawnSync('bash', ['-c', `${tools}\n${renderScript(kind, plain)}`], { cwd, timeout: 20_000 }).status;
    } finally {
      await rm(cwd, { recursive: true });
    }
  }

  it('keep one that comes before the command has started', async () => {
    const sleep = 'sleep() { until [ -e ready ]; do command sleep 0.01; done; }';
    const asks = '[ "$1" = --version ] && { kill -TERM $$; return 1; }';
    const mpirun = `mpirun() { ${asks}; trap "exit 85" USR1; : > ready; while :; do command sleep 0.01; done; }`;
    expect(await codeOf('mpi', `${sleep}\n${mpirun}`)).toBe(85);
  });

  it.each(['slurm', 'mpi'] as const)(
    '%s ends with the code of the command if that ends during a signal',
    async (kind) => {
      // The command signals the script until `kill -0`, which it calls after an interrupted wait, lets the command end.
      const run = 'trap "" USR1; until [ -e go ]; do command kill -USR1 $$; command sleep 0.02; done; exit 7';
      const ended = ': > go; while command kill -0 "$2"; do command sleep 0.01; done; return 1';
      const tools = `kill() { if [ "$1" = -0 ]; then ${ended}; fi; command kill "$@"; }`;
      const commands = `srun() { ${run}; }\nmpirun() { [ "$1" != --version ] || return 1; ${run}; }`;
      expect(await codeOf(kind, `${tools}\n${commands}`)).toBe(7);
    },
  );
});

it('the file for Compose has a service per node, each with its key', () => {
  const [file] = documents('compose', { ...plain, nodes: 2 });
  const nodes = file?.['services'];
  expect(Object.keys(nodes)).toEqual(['node-0', 'node-1']);
  expect(nodes['node-0'].environment.LOCKSTEP_RUN_KEY).toMatch(/^\$\{LOCKSTEP_RUN_KEY:\?/);
  expect(nodes['node-1'].environment).toMatchObject({ LOCKSTEP_NODE_RANK: '1', LOCKSTEP_COORDINATOR: 'node-0:5555' });
  expect(nodes['node-1'].environment).not.toHaveProperty('LOCKSTEP_RUN_KEY');
  expect(nodes['node-0'].mem_limit).toBe('16g');
});

it('every kind renders, and scripts of Slurm name what the job asked for', () => {
  for (const kind of scriptKinds) expect(renderScript(kind, plain)).toMatch(/\n$/);
  const script = renderScript('slurm', plain);
  for (const line of ['--nodes=4', '--ntasks-per-node=1', '--cpus-per-task=8', '--mem=16G', '--requeue', '--no-kill']) {
    expect(script).toContain(`#SBATCH ${line}\n`);
  }
  expect(renderScript('slurm', odd)).toContain('#SBATCH --exclusive\n');
});

it.each([
  ['GPT_small.v2', 'gpt-small-v2'],
  ['2-runs', 'runs'],
  ['é', 'run'],
  ['a'.repeat(80), 'a'.repeat(40)],
])('the job of %s is %s', (text, name) => expect(jobName(text)).toBe(name));

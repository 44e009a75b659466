import { expect, it } from 'vitest';
import { requeueWithoutNode0, type SlurmSite } from '../../../src/cluster/slurmRequeue.ts';

const node0 = { host: 'n1', port: 10_119 };
/** As `scontrol show job` of Slurm 22.05 writes it. */
const shown = (state: string, nodes: string) =>
  `JobId=17 JobName=p\n   JobState=${state} Reason=None\n   Requeue=1 Restarts=0 BatchFlag=1\n   ReqNodeList=(null) ExcNodeList=(null)\n   NodeList=${nodes}\n`;

/** A site whose `scontrol show job` gives these answers, the last one again and again. */
function siteOf(jobs: readonly string[], { answers = false, refuses = false, node = 'MIXED', listens = true } = {}) {
  const said: string[] = [];
  let shownTimes = 0;
  let nowMs = 0;
  const site: SlurmSite = {
    scontrol: async (...words) => {
      said.push(words.join(' '));
      if (words[1] === 'node')
        return `NodeName=n1 Arch=x86_64\n   NodeAddr=10.0.0.1 Version=22.05.8\n   State=${node} ThreadsPerCore=1\n`;
      if (words[1] === 'config') return 'SlurmctldPort           = 6817\nSlurmdPort              = 6818\n';
      if (words[0] === 'show') return jobs[Math.min(shownTimes++, jobs.length - 1)]!;
      if (refuses) throw new Error('Requested operation is presently disabled');
      return '';
    },
    answers: async () => answers,
    listens: async ({ host, port }) => listens && host === '10.0.0.1' && port === 6_818,
    sleep: async (ms) => {
      nowMs += ms;
    },
    now: () => nowMs,
  };
  return { site, said, passedMs: () => nowMs };
}

it('requeues the job when Slurm has taken node 0 out of it', async () => {
  const { site, said } = siteOf([shown('RUNNING', 'n[1-3]'), shown('RUNNING', 'n[2-3]')]);
  expect(await requeueWithoutNode0(17, node0, site)).toEqual({ isRequeued: true });
  expect(said).toEqual(['show job 17', 'show job 17', 'requeue 17']);
});

it('leaves it to another node that was faster', async () => {
  const { site, said } = siteOf([shown('PENDING', 'n[2-3]')]);
  expect(await requeueWithoutNode0(17, node0, site)).toEqual({ isRequeued: true });
  expect(said).toEqual(['show job 17']);
});

it('does not requeue a job whose node 0 lives, and waits longer for one that does not answer', async () => {
  const alive = { isRequeued: false, why: 'n1 is still a node of the job' };
  const [short, long] = [siteOf([shown('RUNNING', 'n[1-3]')], { answers: true }), siteOf([shown('RUNNING', 'n[1-3]')])];
  expect(await requeueWithoutNode0(17, node0, short.site)).toEqual(alive);
  expect(await requeueWithoutNode0(17, node0, long.site)).toEqual(alive);
  expect(short.passedMs()).toBeLessThan(140_000);
  expect(long.passedMs()).toBeGreaterThan(300_000);
  const ending = siteOf([shown('COMPLETING', 'n[1-3]')]);
  expect(await requeueWithoutNode0(17, node0, ending.site)).toEqual({
    isRequeued: false,
    why: 'the job is COMPLETING',
  });
});

it('says why Slurm refuses', async () => {
  const { site } = siteOf([shown('RUNNING', 'n[2-3]')], { refuses: true });
  expect(await requeueWithoutNode0(17, node0, site)).toEqual({
    isRequeued: false,
    why: 'Requested operation is presently disabled',
  });
});

it.each([
  ['MIXED+NOT_RESPONDING', true],
  ['MIXED*', true],
  ['MIXED', false],
] as const)(
  'waits for Slurm where a host answers, but not its slurmd: %s, slurmd listens: %s',
  async (node, listens) => {
    const running = Array.from({ length: 100 }, () => shown('RUNNING', 'n[1-3]'));
    const { site, said } = siteOf([...running, shown('RUNNING', 'n[2-3]')], { answers: true, node, listens });
    expect(await requeueWithoutNode0(17, node0, site)).toEqual({ isRequeued: true });
    expect(said.filter((words) => words === 'show node n1').length).toBeGreaterThan(0);
  },
);

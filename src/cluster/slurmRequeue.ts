/**
 * Starts a job of Slurm again whose node 0 is dead. With `--no-kill` a job outlives its nodes, also the one with the batch script: Slurm
 * takes it out of the job, and nothing of the script is left that could requeue the job (seen with 22.05). Another node does.
 */
import { execFile } from 'node:child_process';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { fullMessageOf } from '../base/errors.ts';
import type { HostPort } from './placement.ts';
import { slurmNodes } from './slurmNodes.ts';

const pollMs = 2_000;
/** Slurm takes a node for dead after SlurmdTimeout, 300 s by default, and looks every third of it. */
const unreachableMs = 450_000;
/** A host that answers may live: only the process of node 0 has ended. Slurm has looked by then whether its slurmd lives too. */
const answeringMs = 130_000;
const probeMs = 5_000;

/** What the tests replace. */
export interface SlurmSite {
  /** Runs `scontrol`. @returns its standard output */
  readonly scontrol: (...words: readonly string[]) => Promise<string>;
  /** Whether a host answers, with a connection or a refusal. */
  readonly answers: (address: HostPort) => Promise<boolean>;
  /** Whether a program accepts a connection. */
  readonly listens: (address: HostPort) => Promise<boolean>;
  readonly sleep: (ms: number) => Promise<unknown>;
  readonly now: () => number;
}

const realSite: SlurmSite = {
  scontrol: async (...words) => (await promisify(execFile)('scontrol', words, { timeout: 60_000 })).stdout,
  answers: (address) => answers(address, { takesRefusal: true }),
  listens: (address) => answers(address, { takesRefusal: false }),
  sleep,
  now: () => performance.now(),
};

/** `why`: for people. */
export type Requeue = { readonly isRequeued: true } | { readonly isRequeued: false; readonly why: string };

/**
 * Requeues the job once Slurm has taken node 0 out of it. Slurm refuses this for a job that was submitted with `--no-requeue`.
 * @param job its number
 * @param node0 where node 0 was, by its name in Slurm
 */
export async function requeueWithoutNode0(job: number, node0: HostPort, site = realSite): Promise<Requeue> {
  const startMs = site.now();
  let limitMs = (await site.answers(node0)) ? answeringMs : unreachableMs;
  try {
    for (;;) {
      const text = await site.scontrol('show', 'job', String(job));
      const state = /\bJobState=(\w+)/.exec(text)?.[1];
      // Another node was faster.
      if (state === 'PENDING') return { isRequeued: true };
      if (state !== 'RUNNING') return { isRequeued: false, why: `the job is ${state ?? 'unknown'}` };
      const nodes = slurmNodes(/^\s*NodeList=(\S+)/m.exec(text)?.[1] ?? '');
      if (!nodes.includes(node0.host)) break;
      if (site.now() - startMs > limitMs) {
        const isLost = limitMs < unreachableMs && (await isNodeLost(node0.host, site));
        if (!isLost) return { isRequeued: false, why: `${node0.host} is still a node of the job` };
        limitMs = unreachableMs;
      }
      await site.sleep(pollMs);
    }
    await site.scontrol('requeue', String(job));
    return { isRequeued: true };
  } catch (error) {
    return { isRequeued: false, why: fullMessageOf(error) };
  }
}

/** Whether Slurm does not hear of a node, which it will take out of its jobs. */
async function isNodeLost(node: string, site: SlurmSite): Promise<boolean> {
  const text = await site.scontrol('show', 'node', node);
  return /\bState=\S*(\*|NOT_RESPONDING|DOWN|FAIL)/.test(text) || (await isSlurmdGone(node, site));
}

/** Whether nothing answers where the slurmd of a node listens; false if that is unknown. */
async function isSlurmdGone(node: string, site: SlurmSite): Promise<boolean> {
  const text = await site.scontrol('show', 'node', node);
  const host = /\bNodeAddr=(\S+)/.exec(text)?.[1];
  // Slurm names the port of a node only where it is not the usual one.
  const own = /\bPort=(\d+)/.exec(text)?.[1];
  const port = own ?? /^SlurmdPort\s*=\s*(\d+)/m.exec(await site.scontrol('show', 'config'))?.[1];
  if (host === undefined || port === undefined) return false;
  return !(await site.listens({ host, port: Number(port) }));
}

function answers({ host, port }: HostPort, { takesRefusal }: { takesRefusal: boolean }): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: probeMs });
    const end = (isAnswer: boolean) => {
      socket.destroy();
      resolve(isAnswer);
    };
    socket.once('connect', () => end(true));
    socket.once('timeout', () => end(false));
    socket.once('error', (error: NodeJS.ErrnoException) => end(takesRefusal && error.code === 'ECONNREFUSED'));
  });
}

/** Runs in Prometheus' text format, version 0.0.4: `/metrics`. */
import { rankCountOf, rankRowsOf } from '../records/runLines.ts';
import type { RunView } from './runView.ts';

interface Metric {
  readonly name: string;
  readonly type: 'gauge' | 'counter';
  readonly help: string;
  readonly samples: (run: RunView) => readonly (readonly [Readonly<Record<string, string>>, number | undefined])[];
}

const one = (value: (run: RunView) => number | undefined): Metric['samples'] => {
  return (run) => [[{}, value(run)]];
};
const phases = ['dataWait', 'forwardBackward', 'ringWait', 'commitWait', 'optimizer'] as const;
const count = (run: RunView, ...kinds: string[]) => run.events.filter(({ event }) => kinds.includes(event)).length;

const metrics: readonly Metric[] = [
  {
    name: 'lockstep_running',
    type: 'gauge',
    help: 'Whether a process trains in the run directory.',
    samples: one((run) => Number(run.isRunning)),
  },
  { name: 'lockstep_step', type: 'gauge', help: 'Steps committed.', samples: one((run) => run.newestStep?.step) },
  {
    name: 'lockstep_tokens_total',
    type: 'counter',
    help: 'Tokens trained on.',
    samples: one((run) => run.newestStep?.tokens),
  },
  {
    name: 'lockstep_loss',
    type: 'gauge',
    help: 'Mean loss of the newest step, in nats per token.',
    samples: one((run) => run.newestStep?.loss),
  },
  {
    name: 'lockstep_validation_loss',
    type: 'gauge',
    help: 'Newest validation loss, in nats per token.',
    samples: one((run) => run.newestValidation?.valLoss),
  },
  {
    name: 'lockstep_learning_rate',
    type: 'gauge',
    help: 'Learning rate of the newest step.',
    samples: one((run) => run.newestStep?.lr),
  },
  {
    ...{
      name: 'lockstep_gradient_norm',
      type: 'gauge',
      help: 'Global gradient norm of the newest step, before clipping.',
    },
    samples: one((run) => run.newestStep?.gradNorm),
  },
  {
    name: 'lockstep_tokens_per_second',
    type: 'gauge',
    help: 'Tokens per second of the newest step.',
    samples: one((run) => run.newestStep?.tokensPerSecond),
  },
  {
    name: 'lockstep_mfu',
    type: 'gauge',
    help: 'Model FLOP utilisation of the newest step, 0 to 1.',
    samples: one((run) => run.newestStep?.mfu),
  },
  {
    name: 'lockstep_term',
    type: 'gauge',
    help: 'Membership term: grows whenever workers come or go.',
    samples: one((run) => run.newestStep?.term),
  },
  {
    name: 'lockstep_workers',
    type: 'gauge',
    help: 'Workers in the newest step.',
    samples: one((run) => run.newestStep && rankCountOf(run.newestStep)),
  },
  {
    name: 'lockstep_recent_workers_lost',
    type: 'gauge',
    help: 'Workers lost, among the newest 500 events.',
    samples: one((run) => count(run, 'lost')),
  },
  {
    name: 'lockstep_phase_seconds',
    type: 'gauge',
    help: 'Time of each rank in each part of the newest step; of more than 16, the median over the ranks, and the slowest rank.',
    samples: (run) =>
      (run.newestStep === undefined ? [] : rankRowsOf(run.newestStep)).flatMap((rank) =>
        phases.map((phase) => {
          const ms = rank[`${phase}Ms`];
          return [{ rank: String(rank.rank), phase }, ms === undefined ? undefined : ms / 1_000] as const;
        }),
      ),
  },
];

/** What is not known yet has no line. */
export function exposition(runs: readonly RunView[]): string {
  return metrics
    .map(({ name, type, help, samples }) => {
      const lines = runs.flatMap((run) =>
        samples(run).flatMap(([labels, value]) =>
          value === undefined ? [] : [line(name, { run: run.name, ...labels }, value)],
        ),
      );
      return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines, ''].join('\n');
    })
    .join('');
}

function line(name: string, labels: Readonly<Record<string, string>>, value: number): string {
  const list = Object.entries(labels).map(([key, text]) => `${key}="${escaped(text)}"`);
  return `${name}{${list.join(',')}} ${Number.isNaN(value) ? 'NaN' : value}`;
}

function escaped(label: string): string {
  return label.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}

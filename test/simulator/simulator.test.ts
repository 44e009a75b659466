/**
 * Many runs in virtual time, a seed each: the real coordinator and agents, with faults. `npm run simulate -- --seeds 10000` runs
 * more; a seed that fails is shown with its faults and decisions, and `--from SEED --seeds 1` repeats it.
 */
import { appendFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { WeighedBatch } from '../../src/base/batch.ts';
import { decide } from '../../src/coordinator/core/decide.ts';
import type { Decision } from '../../src/coordinator/core/effects.ts';
import type { RunEvent } from '../../src/coordinator/core/runEvents.ts';
import type { RunState } from '../../src/coordinator/core/runState.ts';
import type { RunData } from '../../src/data/runData.ts';
import { withRunLength } from '../../src/run/runLength.ts';
import { nightlyIt } from '../nightly.ts';
import { Simulation, type SimulationOptions } from './simulation.ts';

const from = Number(process.env['LOCKSTEP_SIMULATE_FROM'] ?? 1);
const seeds = Number(process.env['LOCKSTEP_SIMULATE_SEEDS'] ?? 1_200);
/** They test only what is different. */
const transferSeeds = Math.ceil(seeds / 12);
/** Likewise. */
const rolloutSeeds = Math.ceil(seeds / 10);
const agentSeeds = Math.ceil(seeds / 10);
/** Where to write what the seeds came to. */
const summaryPath = process.env['LOCKSTEP_SIMULATE_SUMMARY'];

describe('a run in virtual time', () => {
  it('without faults ends as it should', async () => {
    let takenBack = 0;
    for (let seed = 1; seed <= 50; seed++) {
      const result = await new Simulation({ seed, faults: [], onExamples: seed % 2 === 0 }).run();
      takenBack += result.takenBack;
      expect(result.violation, result.report).toBeUndefined();
      expect(result.failures).toEqual([]);
      expect(result.rewinds).toBe(0);
    }
    expect(takenBack).toBeGreaterThan(500);
  });

  it('is the same whenever its seed is run', async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const run = () => new Simulation({ seed, onExamples: seed % 2 === 0 }).run();
      expect(await run()).toEqual(await run());
    }
  });

  it(`keeps what must hold whatever happens: ${seeds} seeds`, { timeout: 3_600_000 }, async () => {
    const sum = { seeds, events: 0, virtualMs: 0, terms: 0, faults: 0, rewinds: 0, failures: 0 };
    for (let seed = from; seed < from + seeds; seed++) {
      // Half of the runs train on examples, each of which is used in every epoch whatever happens.
      const result = await new Simulation({ seed, onExamples: seed % 2 === 0 }).run();
      if (summaryPath !== undefined && result.violation !== undefined)
        appendFileSync(summaryPath, `${result.report}\n\n`);
      expect(result.violation, result.report).toBeUndefined();
      for (const key of ['events', 'virtualMs', 'terms', 'faults', 'rewinds'] as const) sum[key] += result[key];
      sum.failures += result.failures.length;
    }
    if (summaryPath !== undefined) appendFileSync(summaryPath, `${JSON.stringify(sum)}\n`);
  });
});

describe('a run whose machines have agents, in virtual time', () => {
  it('without faults ends as it should', async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const result = await new Simulation({ seed, faults: [], throughHosts: true }).run();
      expect(result.violation, result.report).toBeUndefined();
      expect(result.failures).toEqual([]);
      expect(result.rewinds).toBe(0);
    }
  });

  it(`keeps what must hold whatever happens: ${agentSeeds} seeds`, { timeout: 3_600_000 }, async () => {
    const sum = { agentSeeds, faults: 0, terms: 0, rewinds: 0, together: 0 };
    for (let seed = from; seed < from + agentSeeds; seed++) {
      const result = await new Simulation({ seed, throughHosts: true, onExamples: seed % 2 === 0 }).run();
      expect(result.violation, result.report).toBeUndefined();
      for (const key of ['faults', 'terms', 'rewinds', 'together'] as const) sum[key] += result[key];
    }
    expect(sum.together).toBeGreaterThan(10 * agentSeeds);
    if (summaryPath !== undefined) appendFileSync(summaryPath, `${JSON.stringify(sum)}\n`);
  });
});

it('hands the state round the ring whatever happens meanwhile', async () => {
  const sum = { passed: 0, struck: 0, rewinds: 0 };
  const faults = ['crashAll', 'comer', 'stop'] as const;
  for (let seed = from; seed < from + transferSeeds; seed++) {
    const result = await new Simulation({ seed, faults, strikesTransfers: true }).run();
    expect(result.violation, result.report).toBeUndefined();
    for (const key of ['passed', 'struck', 'rewinds'] as const) sum[key] += result[key];
  }
  expect(sum.passed).toBeGreaterThan(2 * transferSeeds);
  expect(sum.struck).toBeGreaterThan(transferSeeds / 2);
}, 3_600_000);

describe('a run of 256 workers, in virtual time', () => {
  const run = async (seeds: readonly number[]) => {
    for (const seed of seeds) {
      // Every second run has an agent on each machine.
      const result = await new Simulation({ seed, isBig: true, throughHosts: seed % 2 === 0 }).run();
      expect(result.violation, result.report).toBeUndefined();
    }
  };

  it('keeps what must hold', { timeout: 120_000 }, () => run([1, 2]));

  nightlyIt('keeps it with 200 seeds', { timeout: 3_600_000 }, () => run(Array.from({ length: 200 }, (_, i) => i + 3)));
});

describe('a run that writes its own samples, in virtual time', () => {
  it('without faults ends as it should', async () => {
    let rollouts = 0;
    for (let seed = 1; seed <= 20; seed++) {
      const result = await new Simulation({ seed, faults: [], rollsOut: true }).run();
      rollouts += result.rollouts;
      expect(result.violation, result.report).toBeUndefined();
      expect(result.failures).toEqual([]);
      expect(result.rewinds).toBe(0);
    }
    expect(rollouts).toBeGreaterThan(100);
  });

  it(`keeps what must hold whatever happens: ${rolloutSeeds} seeds`, { timeout: 3_600_000 }, async () => {
    const sum = { faults: 0, rewinds: 0, rollouts: 0 };
    for (let seed = from; seed < from + rolloutSeeds; seed++) {
      const result = await new Simulation({ seed, rollsOut: true }).run();
      expect(result.violation, result.report).toBeUndefined();
      for (const key of ['faults', 'rewinds', 'rollouts'] as const) sum[key] += result[key];
    }
    if (summaryPath !== undefined) appendFileSync(summaryPath, `${JSON.stringify(sum)}\n`);
  });
});

/** Each is caught by the rule that it breaks: a run that ends badly in another way, such as by a crash, is not enough. */
describe('what it would catch', () => {
  /** Others hide what this one shows. */
  const cuts = ['cut'] as const;
  const stops = ['stop'] as const;
  it.each<[string, typeof decide, RegExp, SimulationOptions['faults']?]>([
    ['commits when all but one have reduced', commitsEarly, /applies step \d+ with other gradients than the sum over/],
    [
      'counts what was reduced in a term before',
      takesOldReduced,
      /samples of step \d+ were not each computed exactly once/,
      cuts,
    ],
    ['goes back to the checkpoint after every loss', forgetsState, /^rewound from step \d+ to \d+ although .+ has its/],
    ['forgets the last committed step when it opens a term', losesStep, /is ready at step \d+, expected \d+$/],
    ['evaluates a run that is to end', evaluatesFirst, /^step \d+ is evaluated, although the run is to end$/, stops],
    [
      'forgets what a stopped run had left to evaluate',
      forgetsEvaluation,
      /^step \d+ of \d+ was never evaluated/,
      stops,
    ],
  ])('a core that %s', async (_, broken, rule, faults) => {
    const violations = await violationsOf({ decide: broken, ...(faults && { faults }) }, rule);
    expect(violations.at(-1)).toMatch(rule);
  });

  it.each([
    [
      'counts a worker that the report of its host lacks',
      countsWhoLacks,
      /applies step \d+ with other gradients than the sum over/,
    ],
    [
      'counts the report of a host once for all its workers',
      repeatsFirst,
      /samples of step \d+ were not each computed exactly once/,
    ],
    [
      'mixes up the workers that a report of a host names',
      turnsAround,
      /samples of step \d+ were not each computed exactly once/,
    ],
  ])('a core that %s', async (_, broken, rule) => {
    const violations = await violationsOf({ decide: broken, throughHosts: true }, rule);
    expect(violations.at(-1)).toMatch(rule);
  });

  it.each<[string, Partial<SimulationOptions>]>([
    [
      'counts the steps that are left as if all batches had had the size of the next one',
      {
        withRunLength: (config, data, { step }) =>
          withRunLength(config, data, { step, samples: step * config.train.globalBatchSize }),
      },
    ],
    [
      'takes the samples of a step as if all batches had had its size',
      {
        spoilData: (data) => ({
          ...data,
          training: ({ samplesBefore: _, ...options }) => data.training(options),
        }),
      },
    ],
    ['uses one example of a batch twice, in place of another', { spoilData: withRepeats }],
  ])('a run that %s', async (_, broken) => {
    const rule = /^example \d+ was used \d+ times in \d epochs$/;
    const violations = await violationsOf({ ...broken, onExamples: true }, rule);
    expect(violations.at(-1)).toMatch(rule);
  });
});

it('a core that uses rollouts that are not in the journal is caught too', async () => {
  const { violation } = await new Simulation({ seed: 1, faults: [], rollsOut: true, decide: forgetsRollouts }).run();
  expect(violation).toMatch(/samples of step 1 are used before the journal has the rollouts of iteration 1/);
});

it('a core that keeps parts of rollouts when their state is lost is caught too', async () => {
  const violations: (string | undefined)[] = [];
  for (let seed = 1; seed <= 400 && !violations.some((found) => found !== undefined); seed++) {
    violations.push((await new Simulation({ seed, rollsOut: true, decide: keepsParts }).run()).violation);
  }
  expect(violations.at(-1)).toMatch(
    /the rollouts of iteration \d+ (are made at step|were not made by)|has written other rollouts/,
  );
});

/** The first sample of each batch is the second one. */
function withRepeats(data: RunData): RunData {
  return {
    ...data,
    training: (options) => {
      const samples = data.training(options);
      const batch = (step: number): WeighedBatch => {
        const { arrays, ...rest } = samples.batch(step);
        const repeated = Object.entries(arrays).map(([name, { shape, data: numbers }]) => {
          const changed = numbers.slice();
          changed.copyWithin(0, numbers.length / rest.sampleCount, (2 * numbers.length) / rest.sampleCount);
          return [name, { shape, data: changed }];
        });
        return { ...rest, arrays: Object.fromEntries(repeated) };
      };
      return {
        sampleLimit: samples.sampleLimit,
        tokensIn: (count) => samples.tokensIn(count),
        batch,
      };
    },
  };
}

/** What is wrong in the runs of one seed after the other, to the first that breaks this rule. */
async function violationsOf(broken: Partial<SimulationOptions>, rule: RegExp): Promise<string[]> {
  const violations: string[] = [];
  for (let seed = 1; seed <= 3_000; seed++) {
    const { violation } = await new Simulation({ seed, ...broken }).run();
    if (violation === undefined) continue;
    violations.push(violation);
    if (rule.test(violation)) break;
  }
  return violations;
}

function forgetsRollouts(state: RunState, event: RunEvent, nowMs: number): Decision {
  const decision = decide(state, event, nowMs);
  return { ...decision, effects: decision.effects.filter(({ kind }) => kind !== 'rolloutsKnown') };
}

function keepsParts(state: RunState, event: RunEvent, nowMs: number): Decision {
  const decision = decide(state, event, nowMs);
  const { rollout } = state;
  const isLost = decision.effects.some(({ kind }) => kind === 'rewind');
  if (!isLost || rollout === undefined) return decision;
  const { step, committedTerm } = decision.state;
  return { ...decision, state: { ...decision.state, rollout: { ...rollout, step, committedTerm, isJudging: false } } };
}

type Reports = Extract<RunEvent, { kind: 'reports' }>;

/** What comes together of gradients, as `change` makes it. */
function withReports(change: (state: RunState, reports: Reports['reports']) => Reports['reports']) {
  return (state: RunState, event: RunEvent, nowMs: number): Decision => {
    if (event.kind !== 'reports' || event.reports[0]?.message.type !== 'reduced') return decide(state, event, nowMs);
    return decide(state, { ...event, reports: change(state, event.reports) }, nowMs);
  };
}

const repeatsFirst = withReports((_, reports) => reports.map(({ from }) => ({ ...reports[0]!, from })));

const turnsAround = withReports((_, reports) =>
  reports.map(({ from }, i) => ({ ...reports[reports.length - 1 - i]!, from })),
);

/** A member whose gradients are not reduced yet, with what is left of the batch. */
const countsWhoLacks = withReports((state, reports) => {
  const first = reports[0]!.message;
  if (first.type !== 'reduced') return reports;
  const shares = new Map(
    state.members.map(({ id, reduced }) => [id, reduced?.step === state.step + 1 ? reduced : undefined]),
  );
  for (const { from, message } of reports) if (message.type === 'reduced') shares.set(from, message);
  const lacking = state.members.filter(({ id }) => shares.get(id) === undefined);
  const [last] = lacking;
  if (last === undefined || lacking.length > 1) return reports;
  const countOf = (ranks: Iterable<{ id: string }>) =>
    [...ranks].reduce((sum, { id }) => sum + (shares.get(id)?.sampleCount ?? 0), 0);
  const sampleFrom = countOf(state.members.filter(({ rank }) => rank < last.rank));
  const sampleCount = state.plan.globalBatchSize - countOf(state.members);
  return [...reports, { from: last.id, message: { ...first, sampleFrom, sampleCount } }];
});

function commitsEarly(state: RunState, event: RunEvent, nowMs: number): Decision {
  const decision = decide(state, event, nowMs);
  const { members: roster, stage, step } = decision.state;
  const members = [...roster];
  const lacking = members.filter(({ reduced }) => reduced?.step !== step + 1);
  const [last] = lacking;
  const isReduced = event.kind === 'message' && event.message.type === 'reduced';
  if (!isReduced || stage !== 'stepping' || lacking.length !== 1 || last === undefined || members.length < 2)
    return decision;
  const sampleFrom = members.reduce((sum, { rank, reduced }) => sum + (rank < last.rank ? reduced!.sampleCount : 0), 0);
  const others = members.reduce((sum, member) => sum + (member === last ? 0 : member.reduced!.sampleCount), 0);
  const sampleCount = decision.state.plan.globalBatchSize - others;
  const message = { ...event.message, sampleFrom, sampleCount } as Extract<RunEvent, { kind: 'message' }>['message'];
  const early = decide(decision.state, { kind: 'message', from: last.id, message }, nowMs);
  return { ...early, effects: [...decision.effects, ...early.effects] };
}

function takesOldReduced(state: RunState, event: RunEvent, nowMs: number): Decision {
  if (event.kind !== 'message' || event.message.type !== 'reduced' || event.message.term >= state.term) {
    return decide(state, event, nowMs);
  }
  const message = { ...event.message, term: state.term };
  const stage = state.stage === 'forming' ? 'stepping' : state.stage;
  return decide({ ...state, stage }, { ...event, message }, nowMs);
}

function forgetsState(state: RunState, event: RunEvent, nowMs: number): Decision {
  if (event.kind !== 'peerGone' && event.kind !== 'workerExited') return decide(state, event, nowMs);
  const members = state.members.map((member) => ({ ...member, holds: undefined }));
  return decide({ ...state, members }, event, nowMs);
}

function evaluatesFirst(state: RunState, event: RunEvent, nowMs: number): Decision {
  const decision = decide(state, event, nowMs);
  return { ...decision, state: { ...decision.state, wasAsked: false } };
}

function forgetsEvaluation(state: RunState, event: RunEvent, nowMs: number): Decision {
  return decide(state.openedAtStep === undefined ? { ...state, evaluatedStep: state.step } : state, event, nowMs);
}

function losesStep(state: RunState, event: RunEvent, nowMs: number): Decision {
  const decision = decide(state, event, nowMs);
  if (decision.state.term === state.term || decision.state.step < 2) return decision;
  return { ...decision, state: { ...decision.state, step: decision.state.step - 1 } };
}

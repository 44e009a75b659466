import { expect, it } from 'vitest';
import {
  FakeRun,
  renderDecisionsHead,
  renderDecisionsRow,
  runDecisionsBench,
} from '../../bench/decisions/decisionsBench.ts';

it('times steps and a loss of many workers, which costs one term', () => {
  const result = runDecisionsBench(80, 2);
  expect(result).toMatchObject({ workers: 80, lost: 20, terms: 1 });
  expect(result.stepMs).toBeGreaterThan(0);
});

it('loses a machine whose workers become silent one after the other as one', () => {
  const run = new FakeRun(96);
  run.step();
  const { term } = run.state;
  const members = run.state.members.map((member) => {
    // The machine host-1 died between 5.5 and 10.1 s ago; the others were heard 6 s ago.
    const silentMs = member.host === 'host-1' ? 10_100 - 145 * (member.rank % 32) : 6_000;
    return { ...member, lastSeenMs: -silentMs };
  });
  run.state = { ...run.state, members };
  run.event({ kind: 'tick' });
  expect(run.state.term).toBe(term + 1);
  expect(run.state.members.length).toBe(64);
  expect(run.state.members.some(({ host }) => host === 'host-1')).toBe(false);
});

it('shows them in a table', () => {
  const lines =
    renderDecisionsHead() +
    renderDecisionsRow({ workers: 256, stepMs: 3.646, workerMs: 0.01424, lost: 64, terms: 1, lossMs: 1.53 });
  expect(lines.replaceAll(/ +/g, ' ')).toBe(
    [
      'decisions of the coordinator, without sockets',
      '',
      'workers ms a step ms a worker lost at once terms ms',
      ' 256 3.646 0.01424 64 1 1.5',
      '',
    ].join('\n'),
  );
});

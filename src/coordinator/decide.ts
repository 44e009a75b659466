/**
 * The decisions of a run as one pure function: (state, event, now) → (state, effects, reason). No clock, socket, file or
 * randomness: coordinator.ts feeds it events and carries out its effects. A step is committed only when every member has
 * reduced it, so that it is applied on every replica or on none.
 *
 * The shape is that of raft's and torchft's decision cores: same state and event, same decision.
 */
import { InvariantError } from '../base/errors.ts';
import { protocolVersion, type WorkerFailure, type WorkerMessage, type WorkerMessageOf } from '../comm/protocol.ts';
import {
  allTraining,
  fail,
  finish,
  firstDifference,
  idle,
  isDue,
  meanLoss,
  nameOf,
  nothing,
  refuse,
  required,
  seconds,
  seen,
  stale,
  training,
  withMember,
} from './decisionParts.ts';
import { type Decision, type Effect, type Member, type RunEvent, type RunState, shareOf } from './runState.ts';

/** How long after a member gave up because of a peer the cause may take to show. */
const causeGraceMs = 1_000;

export function decide(state: RunState, event: RunEvent, nowMs: number): Decision {
  if (state.stage === 'finished' || state.stage === 'failed') {
    // Whoever comes now would wait for an answer.
    const isJoin = event.kind === 'message' && event.message.type === 'join';
    return isJoin ? refuse(state, event.from, 'the run is over') : nothing(state);
  }
  switch (event.kind) {
    case 'message':
      return onMessage(seen(state, event.from, event.message, nowMs), event.from, event.message, nowMs);
    case 'malformed':
      return onMalformed(state, event);
    case 'peerGone':
      return onPeerGone(state, event, nowMs);
    case 'workerExited':
      return onWorkerExited(state, event, nowMs);
    case 'checkpointWritten':
    case 'checkpointFailed':
      return afterApplied({ ...state, checkpointInFlight: undefined }, `checkpoint of step ${event.step} ended`);
    case 'stopRequested':
      return onStopRequested(state);
    case 'tick':
      return onTick(state, nowMs);
    default:
      throw new InvariantError(`unknown event ${JSON.stringify(event satisfies never)}`);
  }
}

function onMessage(state: RunState, from: string, message: WorkerMessage, nowMs: number): Decision {
  if (message.type === 'join') return onJoin(state, from, message, nowMs);
  const member = state.members.find(({ id }) => id === from);
  if (member === undefined) return nothing(state, `ignored ${message.type} of ${from}, which is no member`);
  switch (message.type) {
    case 'ready':
      return onReady(state, member, message);
    case 'reduced':
      return onReduced(state, member, message);
    case 'applied':
      return onApplied(state, member, message);
    case 'evaluated':
      return onEvaluated(state, member, message);
    case 'snapshotTaken':
      return onSnapshotTaken(state, member, message);
    case 'failed':
      return onFailed(state, member, message, nowMs);
    case 'heartbeat':
      // Answered, so that a worker in a long step knows that the coordinator lives.
      return { state, effects: [{ kind: 'send', to: from, message: { type: 'heartbeat' } }], reason: '' };
    case 'phase':
    case 'stateChunk':
    case 'stateAck':
      return nothing(state);
    default:
      throw new InvariantError(`unknown message ${JSON.stringify(message satisfies never)}`);
  }
}

function onJoin(state: RunState, from: string, join: WorkerMessageOf<'join'>, nowMs: number): Decision {
  if (join.protocolVersion !== protocolVersion) {
    return refuse(
      state,
      from,
      `the coordinator speaks protocol version ${protocolVersion}, this worker ${join.protocolVersion} (lockstep ${join.version}): install the same lockstep on both machines`,
    );
  }
  if (state.stage !== 'gathering') {
    return refuse(state, from, `the run has started with its ${state.plan.worldSize} workers and takes no more`);
  }
  if (state.members.some(({ id }) => id === from)) return nothing(state, `ignored a second join of ${from}`);
  const member: Member = {
    id: from,
    host: join.host,
    pid: join.pid,
    ringAddress: join.ringAddress,
    rank: -1,
    lastSeenMs: nowMs,
    phase: 'starting',
    step: state.step,
  };
  const joined = { ...state, members: [...state.members, member] };
  const reason = `${from} joined (${joined.members.length} of ${state.plan.worldSize})`;
  const welcome: Effect = { kind: 'welcome', to: from };
  if (joined.members.length < state.plan.worldSize) return { state: joined, effects: [welcome], reason };
  return form(joined, [welcome], reason);
}

/** A member that cannot be understood would be waited for in vain; a stranger who knocks at the port harms nobody. */
function onMalformed(state: RunState, { from, problem }: Extract<RunEvent, { kind: 'malformed' }>): Decision {
  const member = state.members.find(({ id }) => id === from);
  if (member !== undefined) return fail(state, `${nameOf(member)} sent what is no message: ${problem}`);
  const message = `ignored a message of ${from}, which is no worker of this run: ${problem}`;
  return { state, effects: [{ kind: 'warn', message }], reason: message };
}

function onPeerGone(state: RunState, { id, reason }: Extract<RunEvent, { kind: 'peerGone' }>, nowMs: number): Decision {
  if (!state.members.some((member) => member.id === id)) return nothing(state, `${id}, which is no member, is gone`);
  return onWorkerExited(state, { kind: 'workerExited', id, description: `is gone (${reason})` }, nowMs);
}

/** Everyone is there: give out ranks and ring neighbours. Ranks follow the ids, so that local workers keep their order. */
function form(state: RunState, before: readonly Effect[], why: string): Decision {
  const epoch = state.epoch + 1;
  const members = [...state.members]
    .sort((a, b) => (a.id < b.id ? -1 : 1))
    .map((member, rank) => ({ ...member, rank }));
  const worldSize = members.length;
  const effects: Effect[] = [...before];
  for (const [rank, { id }] of members.entries()) {
    const next = members[(rank + 1) % worldSize];
    const previous = members[(rank + worldSize - 1) % worldSize];
    effects.push({
      kind: 'send',
      to: id,
      message: {
        type: 'form',
        epoch,
        rank,
        worldSize,
        nextAddress: next?.ringAddress ?? '',
        previousAddress: previous?.ringAddress ?? '',
        step: state.step,
        state: state.step === 0 ? 'initialise' : 'receive',
      },
    });
    if (state.step > 0) effects.push({ kind: 'sendState', to: id, step: state.step });
  }
  return { state: { ...state, stage: 'forming', epoch, members }, effects, reason: `${why}; epoch ${epoch} formed` };
}

function onReady(state: RunState, member: Member, ready: WorkerMessageOf<'ready'>): Decision {
  if (state.stage !== 'forming' || ready.epoch !== state.epoch) return stale(state, member, 'ready');
  if (ready.step !== state.step) {
    return fail(state, `${nameOf(member)} is ready at step ${ready.step}, expected ${state.step}`);
  }
  const { parameterHash, engine, tensors } = ready;
  const next = withMember(state, { ...member, ready: { parameterHash, engine, tensors } });
  const first = next.members.find((other) => other.ready !== undefined);
  if (first?.ready !== undefined && first.ready.parameterHash !== parameterHash) {
    return fail(
      next,
      `${nameOf(member)} (${engine}) and ${nameOf(first)} (${first.ready.engine}) start from different parameters: ` +
        `${parameterHash.slice(0, 12)} and ${first.ready.parameterHash.slice(0, 12)}; use the same engine and version everywhere`,
    );
  }
  if (next.members.some((other) => other.ready === undefined)) return nothing(next, `${nameOf(member)} is ready`);
  const started: Effect = { kind: 'started', members: next.members };
  if (next.step >= next.plan.maxSteps) return end(next, [started], 'nothing left to do');
  const effects = [started, ...assign(next, next.step + 1), ...assign(next, next.step + 2)];
  return { state: { ...allTraining(next), stage: 'stepping' }, effects, reason: 'every member is ready' };
}

/** Leases a step's samples to the members, in contiguous shares. */
function assign(state: RunState, step: number): Effect[] {
  if (step > state.plan.maxSteps) return [];
  return state.members.map(({ id, rank }) => {
    const { from, count } = shareOf(state.plan.globalBatchSize, rank, state.members.length);
    return { kind: 'assign', to: id, epoch: state.epoch, step, sampleFrom: from, sampleCount: count };
  });
}

function onReduced(state: RunState, member: Member, reduced: WorkerMessageOf<'reduced'>): Decision {
  const step = state.step + 1;
  if (state.stage !== 'stepping' || reduced.epoch !== state.epoch || reduced.step !== step) {
    return stale(state, member, `reduced of step ${reduced.step}`);
  }
  const { lossSum, targets, gradNorm } = reduced;
  const phase = 'waiting for commit';
  const next = withMember(state, { ...member, phase, step, reduced: { step, lossSum, targets, gradNorm } });
  if (next.members.some((other) => other.reduced?.step !== step)) return nothing(next);

  const { plan } = next;
  const hold =
    step === plan.maxSteps ||
    next.stopRequested ||
    isDue(step, plan.evalEverySteps) ||
    isDue(step, plan.checkpointEverySteps);
  const hash = isDue(step, plan.hashEverySteps);
  const effects: Effect[] = next.members.map(({ id }) => ({
    kind: 'send',
    to: id,
    // The rim fills in the learning rate, which is a function of the step and the config.
    message: { type: 'commit', epoch: next.epoch, step, learningRate: 0, hash, hold },
  }));
  effects.push(...assign(next, step + 2));
  const committed = { loss: meanLoss(next.members.map((other) => other.reduced)).loss, gradNorm };
  const members = next.members.map((other): Member => ({ ...other, phase: 'optimizer' }));
  return {
    state: { ...next, members, step, committed, holding: hold },
    effects,
    reason: `every member reduced step ${step}`,
  };
}

function onApplied(state: RunState, member: Member, applied: WorkerMessageOf<'applied'>): Decision {
  const { step } = state;
  if (applied.epoch !== state.epoch || applied.step !== step || state.appliedStep === step) {
    return stale(state, member, `applied of step ${applied.step}`);
  }
  const { timings, ringBytesSent, parameterHash } = applied;
  const doing = state.holding ? idle : training(step + 1);
  const next = withMember(state, {
    ...member,
    ...doing,
    applied: { step, timings, ringBytesSent, parameterHash },
  });
  if (next.members.some((other) => other.applied?.step !== step)) return nothing(next);

  const diverged = firstDifference(next.members);
  if (diverged !== undefined) return fail(next, `replicas differ after step ${step}: ${diverged}`);
  const done: Effect = {
    kind: 'stepDone',
    step,
    epoch: next.epoch,
    ...next.committed,
    ranks: next.members.map((other) => ({ rank: other.rank, ...required(other.applied) })),
  };
  return afterApplied({ ...next, appliedStep: step }, `every member applied step ${step}`, [done]);
}

/** What follows a step that is applied everywhere: evaluation, then a checkpoint, then the end or the next step. */
function afterApplied(state: RunState, why: string, before: readonly Effect[] = []): Decision {
  const { plan, step } = state;
  if (state.stage === 'finishing') {
    return state.checkpointInFlight === undefined
      ? finish(state, before, why)
      : { state, effects: before, reason: why };
  }
  const isHeld = state.stage === 'stepping' && state.holding && state.appliedStep === step;
  if (!isHeld) return { state, effects: before, reason: why };

  const last = step >= plan.maxSteps || state.stopRequested;
  if (state.evaluatedStep < step && plan.evalEverySteps > 0 && (isDue(step, plan.evalEverySteps) || last)) {
    const effects: Effect[] = state.members.map(({ id, rank }) => ({
      kind: 'evaluate',
      to: id,
      epoch: state.epoch,
      step,
      rank,
    }));
    return {
      state: { ...state, stage: 'evaluating' },
      effects: [...before, ...effects],
      reason: `${why}; evaluation is due`,
    };
  }
  if (state.snapshotStep < step && (isDue(step, plan.checkpointEverySteps) || last)) {
    // One checkpoint at a time: the members hold until the one before is on disk.
    if (state.checkpointInFlight !== undefined)
      return { state, effects: before, reason: `${why}; a checkpoint is still written` };
    const source = state.members[0];
    const snapshot: Effect[] =
      source === undefined
        ? []
        : [{ kind: 'send', to: source.id, message: { type: 'snapshot', epoch: state.epoch, step } }];
    return {
      state: { ...state, stage: 'snapshotting' },
      effects: [...before, ...snapshot],
      reason: `${why}; a checkpoint is due`,
    };
  }
  if (last) return end(state, before, why);
  const proceed: Effect[] = state.members.map(({ id }) => ({
    kind: 'send',
    to: id,
    message: { type: 'proceed', epoch: state.epoch, step },
  }));
  return { state: { ...allTraining(state), holding: false }, effects: [...before, ...proceed], reason: why };
}

function onEvaluated(state: RunState, member: Member, message: WorkerMessageOf<'evaluated'>): Decision {
  const { step } = state;
  if (state.stage !== 'evaluating' || message.epoch !== state.epoch || message.step !== step) {
    return stale(state, member, `evaluated of step ${message.step}`);
  }
  const { lossSum, targets } = message;
  const next = withMember(state, { ...member, evaluated: { step, lossSum, targets } });
  if (next.members.some((other) => other.evaluated?.step !== step)) return nothing(next);
  const done: Effect = { kind: 'evaluationDone', step, ...meanLoss(next.members.map((other) => other.evaluated)) };
  return afterApplied({ ...next, stage: 'stepping', evaluatedStep: step }, `step ${step} is evaluated`, [done]);
}

function onSnapshotTaken(state: RunState, member: Member, message: WorkerMessageOf<'snapshotTaken'>): Decision {
  const { step } = state;
  if (state.stage !== 'snapshotting' || message.epoch !== state.epoch || message.step !== step) {
    return stale(state, member, `snapshot of step ${message.step}`);
  }
  const begin: Effect = {
    kind: 'beginCheckpoint',
    from: member.id,
    step,
    bytes: message.bytes,
    tensors: member.ready?.tensors ?? [],
  };
  const next: RunState = { ...state, stage: 'stepping', snapshotStep: step, checkpointInFlight: step };
  return afterApplied(next, `the snapshot of step ${step} is taken`, [begin]);
}

function onFailed(state: RunState, member: Member, failed: WorkerFailure, nowMs: number): Decision {
  if (isDispensable(state, member)) return nothing(state);
  const message = `${nameOf(member)} failed in step ${failed.step} during ${failed.phase}: ${failed.message}`;
  return failed.blame === 'peer' ? giveUp(state, member, message, nowMs) : fail(state, message, failed.blame);
}

/**
 * A member that fails because of a peer is seldom the cause: the one that died is known a moment later, by its exit, its
 * lost connection or its silence. Only if nothing comes is this the message.
 */
function giveUp(state: RunState, member: Member, message: string, nowMs: number): Decision {
  const gaveUp = member.gaveUp ?? { atMs: nowMs, message };
  return nothing(withMember(state, { ...member, gaveUp }), `${message}; looking for the cause`);
}

/** A worker's exit comes before or after its own report, if it could report: they lead to the same. */
function onWorkerExited(state: RunState, exit: Extract<RunEvent, { kind: 'workerExited' }>, nowMs: number): Decision {
  const { id, description, failure } = exit;
  const member = state.members.find((other) => other.id === id);
  if (member === undefined) {
    if (state.stage === 'finishing') return nothing(state);
    const blame = failure?.blame === 'user' ? 'user' : 'run';
    return fail(state, `worker ${id} ${description} before it joined`, blame);
  }
  if (member.gaveUp !== undefined || isDispensable(state, member)) return nothing(state);
  if (failure !== undefined) return onFailed(state, member, failure, nowMs);
  const where =
    state.stage === 'gathering'
      ? 'while the run gathered its workers'
      : `in step ${member.step} during ${member.phase}`;
  return fail(state, `${nameOf(member)} ${description} ${where}`);
}

/** Nothing is asked any more of any member but the first, whose state is being written. */
function isDispensable(state: RunState, { id }: Member): boolean {
  return state.stage === 'finishing' && id !== state.members[0]?.id;
}

function onStopRequested(state: RunState): Decision {
  if (state.stage === 'gathering' || state.stage === 'forming') return end(state, [], 'stopped before the first step');
  return nothing({ ...state, stopRequested: true }, 'the run will stop after this step');
}

function onTick(state: RunState, nowMs: number): Decision {
  const { plan, members } = state;
  if (state.stage === 'gathering' && nowMs - state.startedMs > plan.joinTimeoutMs) {
    return fail(
      state,
      `${members.length} of ${plan.worldSize} workers joined within ${seconds(plan.joinTimeoutMs)}: ` +
        `start the others with \`launch join\`, or ask for fewer with --min-workers`,
    );
  }
  const [first] = members.flatMap(({ gaveUp }) => gaveUp ?? []).toSorted((a, b) => a.atMs - b.atMs);
  if (first !== undefined && nowMs - first.atMs > causeGraceMs) return fail(state, first.message);
  const silent = members.find(
    (member) => member.gaveUp === undefined && nowMs - member.lastSeenMs > plan.heartbeatTimeoutMs,
  );
  if (silent === undefined) return nothing(state);
  return fail(
    state,
    `${nameOf(silent)} has been silent for ${seconds(nowMs - silent.lastSeenMs)} in step ${silent.step} during ${silent.phase}`,
  );
}

/** The last step is done: let the workers go as soon as no checkpoint is being written. */
function end(state: RunState, before: readonly Effect[], why: string): Decision {
  if (state.checkpointInFlight === undefined) return finish(state, before, why);
  return {
    state: { ...state, stage: 'finishing' },
    effects: before,
    reason: `${why}; waiting for the checkpoint`,
  };
}

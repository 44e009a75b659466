/**
 * A run of the real coordinator and real agents in virtual time, with faults, and what must hold of it whatever happens.
 * Its parts: world.ts (time), network.ts, disks.ts, simReplica.ts (compute); here are the processes, the faults and the checks.
 */
import type { Transport } from '../../src/comm/link.ts';
import type { Config } from '../../src/config/configTypes.ts';
import { configSchema } from '../../src/config/schema.ts';
import { Coordinator } from '../../src/coordinator/coordinator.ts';
import type { RingMember, RunListener } from '../../src/coordinator/coordinatorOptions.ts';
import { lacksEvaluation } from '../../src/coordinator/core/bestEvaluation.ts';
import { decide as realDecide } from '../../src/coordinator/core/decide.ts';
import type { Decision, Effect } from '../../src/coordinator/core/effects.ts';
import type { RunEvent } from '../../src/coordinator/core/runEvents.ts';
import type { RunState } from '../../src/coordinator/core/runState.ts';
import { ValidationPlan } from '../../src/coordinator/validationPlan.ts';
import type { RunData } from '../../src/data/runData.ts';
import type { JournalRecord } from '../../src/records/journalRecords.ts';
import type { EvaluationMetrics } from '../../src/records/metricsLog.ts';
import { withRunLength as realRunLength } from '../../src/run/runLength.ts';
import { Agent } from '../../src/worker/agent.ts';
import { HostAgent } from '../../src/worker/hostAgent.ts';
import { serveHost, throughHost } from '../../src/worker/hostChannel.ts';
import { CheckpointDisk, JournalFile } from './disks.ts';
import { drawFaults, type Fault } from './faults.ts';
import { channelBetween } from './hostChannels.ts';
import { Network } from './network.ts';
import { dense, hashOf, Reference, tensors } from './reference.ts';
import { blockSize, ExampleUse, exampleData, textData } from './simData.ts';
import type { SimDevice } from './simDevice.ts';
import { SimReplica, type SimReplicaOptions, simulatedLoss } from './simReplica.ts';
import { RolloutDisk, type RolloutSetting } from './simRollouts.ts';
import { SimProcess, World } from './world.ts';

export interface SimulationOptions {
  readonly seed: number;
  /** Which kinds of faults may come; absent: all. */
  readonly faults?: readonly Fault['kind'][];
  /** Whether the run writes its own samples; by default it learns from a text or examples. */
  readonly rollsOut?: boolean;
  /** Whether it trains on examples, in epochs, and may resume with another batch size. */
  readonly onExamples?: boolean;
  /** Whether other machines have several workers each, which share the connection of an agent. */
  readonly throughHosts?: boolean;
  /** Whether there are 256 workers, most of them on nine other machines, and few steps. */
  readonly isBig?: boolean;
  /** Whether faults come while the state goes round the ring. */
  readonly strikesTransfers?: boolean;
  /** Another core, to see that the checks notice. */
  readonly decide?: typeof realDecide;
  /** Another number of steps, or other samples, for the same reason. */
  readonly withRunLength?: typeof realRunLength;
  readonly spoilData?: (data: RunData) => RunData;
}

export interface SimulationResult {
  readonly seed: number;
  readonly violation: string | undefined;
  /** What happened, for people: the setting, the faults, the last events and decisions. */
  readonly report: string;
  readonly traceHash: number;
  readonly events: number;
  readonly virtualMs: number;
  readonly rewinds: number;
  /** Buckets that came back to devices with memory of their own. */
  readonly takenBack: number;
  readonly terms: number;
  readonly faults: number;
  /** Ranks that received the state from the one before, and faults that came meanwhile. */
  readonly passed: number;
  readonly struck: number;
  /** Number of reports that came together with those of other workers of a host. */
  readonly together: number;
  /** Number of times that rollouts were written. */
  readonly rollouts: number;
  /** Why the command ended and was started again with --resume, each time. */
  readonly failures: readonly string[];
}

/** A state has 136 bytes: more chunks than may be under way. */
const stateChunkBytes = 16;
/** 256 workers. */
const big = { local: 4, remote: 9, onHost: 28 };
/** After the last fault a run must end within this time. */
const quietMsMost = 180_000;
const address = 'coordinator';
const mainHost = 'host-0';
/** Too few workers, where faults or leaves took them, is all that may end a run. */
const mayFail = /left, and the run needs \d+|workers joined within/;
/** Times that a command which failed is started again. */
const failuresMost = 3;

interface Worker {
  readonly name: string;
  readonly process: SimProcess;
  readonly replicas: SimReplica[];
  agent: Agent | undefined;
}

/** What a seed chooses before anything happens. */
interface Setting {
  readonly local: number;
  /** Number of other machines, and of the workers of each. */
  readonly remote: number;
  readonly onHost: number;
  readonly minWorkers: number;
  readonly isShared: boolean;
  /** As the user gives it. */
  readonly config: Config;
  readonly data: RunData;
  readonly evalPartTokens: number;
  readonly rollouts: Omit<RolloutSetting, 'seed'> | undefined;
}

export class Simulation {
  readonly #options: SimulationOptions;
  readonly #world: World;
  readonly #network: Network;
  readonly #setting: Setting;
  readonly #reference: Reference;
  readonly #journal: JournalFile;
  readonly #checkpoints: CheckpointDisk;
  readonly #rollouts: RolloutDisk | undefined;
  readonly #workers = new Set<Worker>();
  readonly #agents = new Map<string, { readonly process: SimProcess; readonly agent: HostAgent }>();
  #coordinator: { readonly process: SimProcess; readonly rim: Coordinator } | undefined;
  #pids = 100;
  #hosts = 1;
  #faultsLeft: number;
  #lastFaultMs = 0;
  #finishedStep: number | undefined;
  /** What was decided last: never lowered by a power cut, which forgets but does not undo. */
  #committedStep = 0;
  #term = 0;
  /** Processes of the ring of that term. */
  #ring: readonly number[] = [];
  readonly #devices: SimDevice[] = [];
  #rewinds = 0;
  #rewindsLogged = 0;
  readonly #failures: string[] = [];
  #passed = 0;
  #strikes = 0;
  #struck = 0;
  #together = 0;
  #runId = '';
  #commands = 0;
  /** That of the newest command. */
  #config: Config;
  readonly #use = new ExampleUse();
  /** Steps of the lines of metrics.jsonl. */
  #lines: number[] = [];
  /** Its other lines. */
  #evaluations: { readonly step: number; readonly loss: number }[] = [];
  /** Whether the newest command was asked to end. */
  #isAsked = false;

  constructor(options: SimulationOptions) {
    this.#options = options;
    this.#world = new World(options.seed);
    this.#network = new Network(this.#world);
    this.#setting = this.#drawSetting();
    this.#config = this.#setting.config;
    this.#reference = new Reference();
    this.#journal = new JournalFile(this.#world);
    this.#checkpoints = new CheckpointDisk(this.#world, this.#reference);
    this.#faultsLeft = 0;
    const { rollouts } = this.#setting;
    this.#rollouts = rollouts && new RolloutDisk(this.#world, { ...rollouts, seed: options.seed });
  }

  async run(): Promise<SimulationResult> {
    const world = this.#world;
    const faults = drawFaults(world.random, this.#options.faults, this.#options.throughHosts === true);
    this.#faultsLeft = faults.length;
    for (const fault of faults) {
      world.schedule(fault.atMs, () => {
        this.#faultsLeft--;
        this.#lastFaultMs = world.nowMs + ('forMs' in fault ? fault.forMs : 0);
        if (this.#finishedStep === undefined) this.#inflict(fault);
      });
    }
    world.schedule(0, () => this.#startCommand());
    for (let i = 0; i < this.#setting.remote; i++) this.#joinFrom(`host-${this.#hosts++}`);
    const isLate = () => this.#faultsLeft === 0 && world.nowMs > this.#lastFaultMs + quietMsMost;
    const isOver = () => this.#finishedStep !== undefined || isLate();
    await world.run(isOver, Number.POSITIVE_INFINITY, () => {});
    if (world.violation === undefined) this.#checkEnd();
    return this.#result();
  }

  #drawSetting(): Setting {
    const { random } = this.#world;
    const { throughHosts = false, isBig = false } = this.#options;
    const local = isBig ? big.local : random.whole(0, throughHosts ? 2 : 3);
    const remote = isBig ? big.remote : random.whole(throughHosts ? 1 : local === 0 ? 2 : 0, 2);
    // Not more workers than samples, of which each needs one.
    const onHost = isBig ? big.onHost : throughHosts ? random.whole(1, 2) : 1;
    const { onExamples = false, spoilData = (given: RunData) => given } = this.#options;
    const given = this.#options.rollsOut ? { ...textData, objective: 'grpo' } : textData;
    const data = spoilData(onExamples ? exampleData(random.whole(8, 40)) : given);
    const config = configSchema.parse({
      model: { nLayer: 1, nHead: 1, nEmbd: 4, blockSize: this.#options.rollsOut ? 8 : blockSize },
      ...(onExamples && { data: { examples: 'numbered.jsonl' } }),
      train: {
        ...(onExamples && { epochs: random.whole(1, 3) }),
        maxSteps: isBig ? random.whole(2, 4) : random.whole(6, 16),
        globalBatchSize: isBig ? random.whole(290, 320) : random.whole(6, 9),
        microBatchSize: 1,
        workers: Math.max(1, local),
        hashEverySteps: random.pick([0, 1, 3]),
        batchSplit: random.pick(['equal', 'proportional']),
      },
      checkpoint: { everySteps: random.pick([0, 2, 4]) },
      // Rollouts have no validation samples.
      eval: { everySteps: random.pick(this.#options.rollsOut ? [0] : [0, 0, 3]) },
      comm: {
        chunkBytes: random.pick([4, 1024]),
        // Most events are heartbeats.
        heartbeatIntervalMs: isBig ? 1_500 : 250,
        heartbeatTimeoutMs: isBig ? 6_000 : 1_500,
        // A frame takes 510 hops.
        stepTimeoutMs: isBig ? 30_000 : 4_000,
        joinTimeoutMs: 15_000,
        rejoinTimeoutMs: 20_000,
      },
    });
    const minWorkers = random.whole(1, Math.max(1, local + remote * onHost - 1));
    const isShared = random.chance(0.5);
    const evalPartTokens = random.pick([2, 6, 2 ** 15]);
    const rollouts = this.#options.rollsOut ? this.#drawRollouts(config.train.globalBatchSize) : undefined;
    return { local, remote, onHost, minWorkers, isShared, config, data, evalPartTokens, rollouts };
  }

  /** Iterations of 1 to 4 steps, in up to 8 parts. */
  #drawRollouts(globalBatchSize: number): Setting['rollouts'] {
    const { random } = this.#world;
    const prompts = (globalBatchSize / 2) * random.pick([1, 2]);
    return {
      prompts: Number.isInteger(prompts) ? prompts : globalBatchSize,
      inner: random.pick([1, 2]),
      globalBatchSize,
    };
  }

  // The command `launch`, which is the coordinator and forks the local workers.

  #startCommand(): void {
    this.#changeBatchSize();
    const process = new SimProcess(this.#world, 'coordinator', mainHost, this.#pids++);
    this.#network.watch(process);
    void this.#command(process).catch((error: unknown) => this.#world.wrong(`the command threw: ${String(error)}`));
  }

  /** What a user may give beside --resume. */
  #changeBatchSize(): void {
    const { random } = this.#world;
    if (this.#options.onExamples !== true || this.#commands++ === 0 || random.chance(0.5)) return;
    this.#config = { ...this.#config, train: { ...this.#config.train, globalBatchSize: random.whole(6, 9) } };
  }

  async #command(process: SimProcess): Promise<void> {
    const { data, local, remote, onHost, minWorkers, evalPartTokens } = this.#setting;
    const point = this.#resumePoint();
    const resume = this.#checkpoints.newest();
    const startStep = resume?.trainer?.step ?? 0;
    const rollouts = this.#rollouts?.of(process, () => [this.#checkpoints.newestStep]);
    const known = rollouts?.continued(startStep, resume?.trainer?.data.rollouts, 'restore it');
    const stepsDone = point?.step ?? startStep;
    const fromCheckpoint = this.#lengthAt({ step: startStep, samples: resume?.trainer?.data.samplesSeen ?? 0 });
    const atPoint = point?.samples === undefined ? undefined : { step: point.step, samples: point.samples };
    const config = atPoint === undefined ? fromCheckpoint : this.#lengthAt(atPoint);
    this.#config = config;
    this.#world.trace(
      `launch, from step ${stepsDone}${point === undefined ? '' : `, looking for ${point.workers.join(', ')}`}`,
    );
    if (startStep >= config.train.maxSteps && !this.#lacksEvaluation(startStep, config.train.maxSteps)) {
      this.#finishedStep = startStep;
      return;
    }
    this.#isAsked = false;
    const server = await this.#network.transportOf(process).listen(address);
    const journal = this.#journal.open(point === undefined, (record) => this.#recorded(record));
    if (point === undefined) {
      this.#runId = `run-${this.#pids}`;
      journal.append({ kind: 'run', format: 2, runId: this.#runId, address });
      if (startStep > 0) journal.append({ kind: 'rewind', step: startStep });
      if (rollouts && known) journal.append({ kind: 'rollouts', step: rollouts.startOf(known.iteration), ...known });
      this.#committedStep = startStep;
      this.#term = 0;
    }
    this.#openMetrics(stepsDone);
    const children = new Map<string, Worker>();
    const localWorkers = Array.from({ length: local }, (_, i) => `local-${i}`);
    let stepsTold = config.train.maxSteps;
    const rim: Coordinator = new Coordinator({
      config,
      data,
      server,
      minWorkers,
      localWorkers,
      journal,
      evalPartTokens,
      evaluations: this.#evaluations,
      stateChunkBytes,
      tensors,
      runId: this.#runId,
      worldSize: local + remote * onHost,
      restartsMax: 1_000,
      open: remote > 0 || point !== undefined,
      startWorker: (worker) => this.#fork(worker, process, () => rim, children),
      killWorker: (worker) => children.get(worker)?.process.die(),
      store: this.#checkpoints.storeOf(process),
      metrics: {
        append: (line) => {
          if ('loss' in line) this.#line(line.step);
          else this.#evaluated(line);
        },
        rewind: (step) => {
          this.#lines = this.#lines.filter((other) => other <= step);
          this.#evaluations = this.#evaluations.filter((other) => other.step <= step);
        },
        flush: async () => {},
      },
      events: {
        append: ({ event, reason }) => {
          if (event === 'rewind') this.#rewindsLogged++;
          this.#world.trace(`event ${event}: ${reason}`);
        },
        flush: async () => {},
      },
      listener: {
        ...this.#listener(),
        lengthChanged: (maxSteps) => {
          stepsTold = maxSteps;
        },
      },
      clock: process,
      decide: (state, event, nowMs) => this.#decide(state, event, nowMs),
      ...(resume !== undefined && { resume }),
      ...(point !== undefined && {
        maxStepsFromCheckpoint: fromCheckpoint.train.maxSteps,
        // Every other seed: a name, which may lead those who return to the former address for a while.
        ...(this.#options.seed % 2 === 0 && { returnTimeoutMs: 4 * config.comm.heartbeatTimeoutMs }),
        resumed: { ...point, rollouts: rollouts?.continued(point.step, point.rollouts, 'restore it') },
      }),
      ...(rollouts && { rollouts, knownRollouts: known }),
    });
    this.#coordinator = { process, rim };
    for (const worker of localWorkers) {
      if (point?.workers.includes(worker) !== true) this.#fork(worker, process, () => rim, children);
    }
    await rim.finished.then(
      (step) => {
        const { maxSteps } = rim.state.plan;
        if (stepsTold !== maxSteps) this.#world.wrong(`listeners know ${stepsTold} steps, but the run has ${maxSteps}`);
        return this.#finished(step, maxSteps, () => this.#resumeLater(process, children));
      },
      (error: Error) => this.#failed(error, process, children),
    );
  }

  /** As run/executeRun.ts. */
  #lengthAt(progress: { step: number; samples: number }): Config {
    return (this.#options.withRunLength ?? realRunLength)(this.#config, this.#setting.data, progress);
  }

  /** As run/resumePoint.ts. */
  #resumePoint() {
    const recovered = this.#journal.recovered();
    if (recovered === undefined) return undefined;
    const isAlive = (pid: number) => [...this.#workers].some(({ process }) => process.pid === pid && !process.isDead);
    const waiting = recovered.members.filter(({ host, pid }) => host !== mainHost || isAlive(pid));
    if (waiting.length === 0) return undefined;
    const { term, step, committedTerm, gradNorm, learningRate, tokens, samples, globalBatchSize, rollouts } = recovered;
    const workers = waiting.map(({ worker }) => worker);
    return { term, step, committedTerm, gradNorm, learningRate, tokens, samples, globalBatchSize, rollouts, workers };
  }

  #failed(error: Error, process: SimProcess, children: Map<string, Worker>): void {
    this.#world.trace(`the command failed: ${error.message}`);
    this.#failures.push(error.message);
    if (error.name !== 'PeerError') this.#world.wrong(`the run failed with ${error.name}: ${error.message}`);
    else if (!mayFail.test(error.message)) this.#world.wrong(`the run failed: ${error.message}`);
    else if (this.#failures.length > failuresMost) this.#world.wrong(`the run failed again: ${error.message}`);
    this.#resumeLater(process, children);
  }

  /** The command ends, with its workers. A supervisor starts it again, and also the workers of other machines, which were told to stop. */
  #resumeLater(process: SimProcess, children: Map<string, Worker>): void {
    // What kills a command has it started again too.
    if (this.#coordinator?.process === process) this.#coordinator = undefined;
    for (const worker of children.values()) this.#world.schedule(500, () => worker.process.die());
    this.#world.schedule(600, () => process.die());
    this.#world.schedule(2_000, () => {
      this.#startCommand();
      for (let i = 0; i < this.#setting.remote; i++) this.#joinFrom(`host-${this.#hosts++}`);
    });
  }

  #finished(step: number, maxSteps: number, resumeLater: () => void): void {
    this.#world.trace(`finished at step ${step} of ${maxSteps}`);
    this.#config = { ...this.#config, train: { ...this.#config.train, maxSteps } };
    if (step < maxSteps || this.#lacksEvaluation(step, maxSteps)) resumeLater();
    else this.#finishedStep = step;
  }

  // Workers.

  #fork(name: string, parent: SimProcess, rim: () => Coordinator, children: Map<string, Worker>): void {
    if (children.has(name) || parent.isDead) return;
    const worker = this.#startWorker(name, mainHost, (description, clean, failure) => {
      this.#world.schedule(
        this.#world.random.between(1, 60),
        () => {
          children.delete(name);
          rim().workerExited({
            worker: name,
            pid: worker.process.pid,
            description,
            clean,
            ...(failure && { failure }),
          });
        },
        parent,
      );
    });
    children.set(name, worker);
  }

  /** `launch join` on another machine, which starts its workers again when they die. */
  #joinFrom(host: string): void {
    for (let i = 0; i < this.#setting.onHost; i++) this.#joinOne(host);
  }

  #joinOne(host: string): void {
    const again = () => {
      const delayMs = this.#world.random.between(100, 1_500);
      this.#world.schedule(delayMs, () => {
        if (this.#finishedStep === undefined) this.#joinOne(host);
      });
    };
    const name = `${host}-${this.#pids}`;
    this.#startWorker(name, host, (_, clean) => clean || again());
  }

  /** The agent of a machine, which a supervisor starts again, for its later workers, if it has ended. */
  #agentOf(host: string) {
    const former = this.#agents.get(host);
    if (former?.process.isDead === false) return former;
    const process = new SimProcess(this.#world, `agent of ${host}`, host, this.#pids++);
    this.#network.watch(process);
    const transport = this.#network.transportOf(process);
    const name = `agent.${process.pid}`;
    const agent = new HostAgent({ transport, coordinatorAddress: address, name, clock: process });
    const started = { process, agent };
    this.#agents.set(host, started);
    return started;
  }

  #transportOf(process: SimProcess): Transport {
    const direct = this.#network.transportOf(process);
    if (this.#options.throughHosts !== true || process.host === mainHost) return direct;
    const host = this.#agentOf(process.host);
    const { ofWorker, ofAgent } = channelBetween(process, host.process);
    serveHost(host.agent, ofAgent);
    return throughHost(direct, ofWorker, process);
  }

  #startWorker(
    name: string,
    host: string,
    onExit: (description: string, clean: boolean, failure: Awaited<ReturnType<typeof Agent.work>>) => void,
  ): Worker {
    const process = new SimProcess(this.#world, name, host, this.#pids++);
    this.#network.watch(process);
    const worker: Worker = { name, process, replicas: [], agent: undefined };
    this.#workers.add(worker);
    this.#world.trace(`${name} starts (pid ${process.pid})`);
    let hasEnded = false;
    process.onDeath.push(() => {
      this.#workers.delete(worker);
      this.#world.trace(`${name} (pid ${process.pid}) has ended`);
      if (!hasEnded) onExit('was killed by SIGKILL', false, undefined);
    });
    const makeReplica = () => {
      const { isShared } = this.#setting;
      const isMember = () => this.#ring.includes(process.pid);
      const onApplied = (step: number) => this.#applied(worker, step);
      const onStep: SimReplicaOptions['onStep'] = (step, sampleFrom, batch) => {
        if (this.#options.onExamples) this.#use.begins(process.pid, { step, sampleFrom }, batch);
        if (isMember()) this.#rollouts?.given(step, sampleFrom, batch);
      };
      const replica = new SimReplica({ process, reference: this.#reference, isShared, isMember, onApplied, onStep });
      worker.replicas.push(replica);
      this.#devices.push(replica.device);
      return replica;
    };
    const start = async () => {
      const failure = await Agent.work(
        {
          transport: this.#transportOf(process),
          coordinatorAddress: address,
          id: name,
          workersOnHost: 1,
          localIndex: 0,
          cores: 1,
          clock: process,
          makeReplica,
          stateChunkBytes,
          host,
          pid: process.pid,
        },
        (agent) => {
          worker.agent = agent;
        },
      );
      if (process.isDead) return;
      if (failure?.blame === 'run') this.#world.wrong(`${name} failed in ${failure.phase}: ${failure.message}`);
      hasEnded = true;
      onExit(failure === undefined ? 'has ended' : `failed: ${failure.message}`, failure === undefined, failure);
      process.after(200, () => process.die());
    };
    process.after(this.#world.random.between(1, 100), () => {
      void start().catch((error: unknown) => this.#world.wrong(`${name} threw ${String(error)}`));
    });
    return worker;
  }

  // Faults.

  #inflict(fault: Fault): void {
    const world = this.#world;
    const living = [...this.#workers].filter(({ process }) => !process.isDead);
    const victim = living[Math.floor(fault.who * living.length)];
    const text = JSON.stringify(fault, (_, value) =>
      typeof value === 'number' ? Math.round(value * 1_000) / 1_000 : value,
    );
    world.fault(`${text} ${victim?.name ?? ''}`);
    switch (fault.kind) {
      case 'crash':
        victim?.process.die();
        break;
      case 'crashAll':
        for (const { process } of living) process.die();
        break;
      case 'freeze':
        victim?.process.freeze(world.nowMs + fault.forMs);
        break;
      case 'slow':
        if (!victim) break;
        victim.process.slowness = fault.factor;
        world.schedule(fault.forMs, () => {
          victim.process.slowness = 1;
        });
        break;
      case 'partition': {
        const host = victim?.process.host;
        if (host === undefined || host === mainHost) break;
        this.#network.part(host);
        world.schedule(fault.forMs, () => this.#network.heal(host, fault.isReset));
        break;
      }
      case 'cut': {
        const connections = [...this.#network.connections];
        connections[Math.floor(fault.who * connections.length)]?.cut('the connection was cut');
        break;
      }
      case 'agentCrash':
        this.#agents.get(victim?.process.host ?? '')?.process.die();
        break;
      case 'agentFreeze':
        this.#agents.get(victim?.process.host ?? '')?.process.freeze(world.nowMs + fault.forMs);
        break;
      case 'hostCrash':
        if (victim === undefined || victim.process.host === mainHost) break;
        this.#agents.get(victim.process.host)?.process.die();
        for (const { process } of living) if (process.host === victim.process.host) process.die();
        break;
      case 'leave':
        victim?.agent?.leave();
        break;
      case 'stop':
        if (this.#coordinator?.process.isDead !== false) break;
        this.#isAsked = true;
        this.#coordinator.rim.requestStop();
        break;
      case 'comer':
        if (this.#setting.remote > 0) this.#joinFrom(`host-${this.#hosts++}`);
        break;
      case 'coordinatorCrash':
      case 'powerCut':
        this.#endCoordinator(fault);
        break;
      case 'coordinatorFreeze':
        this.#coordinator?.process.freeze(world.nowMs + fault.forMs);
        break;
      default:
        throw new Error(`unknown fault ${JSON.stringify(fault satisfies never)}`);
    }
  }

  #endCoordinator({ kind, forMs }: { kind: Fault['kind']; forMs: number }): void {
    const { process } = this.#coordinator ?? {};
    if (process === undefined || process.isDead) return;
    process.die();
    if (kind === 'powerCut') {
      this.#journal.cutPower();
      for (const { process: worker } of [...this.#workers]) if (worker.host === mainHost) worker.die();
    }
    this.#world.schedule(forMs, () => this.#startCommand());
  }

  // What must hold.

  #decide(state: RunState, event: RunEvent, nowMs: number): Decision {
    if (event.kind === 'reports') this.#together += event.reports.length;
    const decision = (this.#options.decide ?? realDecide)(state, event, nowMs);
    if (decision.reason !== '') this.#world.trace(`decided (${decision.state.stage}): ${decision.reason}`);
    for (const effect of decision.effects) this.#checkEffect(effect, state, decision);
    return decision;
  }

  #checkEffect(effect: Effect, before: RunState, { state: after, effects: all }: Decision): void {
    const { train } = this.#config;
    if (effect.kind === 'committed') {
      let next = 0;
      for (const { sampleFrom, sampleCount } of effect.ranks) {
        if (sampleFrom !== next) this.#world.wrong(`step ${effect.step} is committed with samples out of order`);
        next += sampleCount;
      }
      if (next !== train.globalBatchSize) this.#world.wrong(`step ${effect.step} is committed with ${next} samples`);
    } else if (effect.kind === 'evaluate' && (this.#isAsked || after.givingUp !== undefined)) {
      const { step, checkpointStep, snapshotStep, plan } = after;
      const isSaved = step <= Math.max(checkpointStep, snapshotStep);
      if (step < plan.maxSteps) this.#world.wrong(`step ${step} is evaluated, although the run is to end`);
      else if (!isSaved) this.#world.wrong(`step ${step} is evaluated before it is saved, although the run is to end`);
    } else if (effect.kind === 'transfer') {
      this.#passed += effect.passes.length;
      if (this.#options.strikesTransfers === true) this.#strikeTransfer(effect.term);
    } else if (effect.kind === 'finish' || effect.kind === 'fail') {
      const { step, checkpointStep, snapshotStep } = after;
      const { members, joiners } = before;
      const holder = [...members, ...joiners].find((member) => {
        const replica = member.prepared && this.#replicaOf(member);
        return replica && this.#reference.isState(step, dense(replica.blocks));
      });
      // One that was taken may not have been written: a full disk.
      if (step > Math.max(checkpointStep, snapshotStep) && holder !== undefined) {
        this.#world.wrong(
          `${effect.kind} at step ${step} without a checkpoint, although ${holder.worker} has its state`,
        );
      }
    } else if (effect.kind === 'rewind') {
      this.#rewinds++;
      const opened = all.find((other) => other.kind === 'termOpened');
      for (const member of opened?.kind === 'termOpened' ? opened.members : []) {
        const replica = this.#replicaOf(member);
        if (replica && this.#reference.isState(before.step, dense(replica.blocks))) {
          this.#world.wrong(
            `rewound from step ${before.step} to ${effect.step} although ${member.worker} has its state`,
          );
        }
      }
    }
  }

  /** Up to three faults, of those that a chain of ranks must survive. */
  #strikeTransfer(term: number): void {
    const { random } = this.#world;
    if (++this.#strikes > 3) return;
    const kind = random.pick(['crash', 'crash', 'cut', 'cut', 'freeze', 'partition', 'coordinatorCrash'] as const);
    const common = { atMs: 0, who: random.uniform(), forMs: random.between(10, 3_000), isReset: random.chance(0.5) };
    this.#faultsLeft++;
    this.#world.schedule(random.between(0, 80), () => {
      this.#faultsLeft--;
      this.#lastFaultMs = this.#world.nowMs + common.forMs;
      if (this.#finishedStep !== undefined) return;
      const { stage, term: now } = this.#coordinator?.rim.state ?? {};
      if (stage === 'forming' && now === term) this.#struck++;
      this.#inflict({ ...common, kind });
    });
  }

  #recorded(record: JournalRecord): void {
    this.#world.trace(`journal: ${record.kind} ${'step' in record ? record.step : ''}`);
    if (record.kind === 'term') {
      if (record.term <= this.#term) {
        this.#world.wrong(`term ${record.term} is opened after term ${this.#term}`);
      }
      this.#term = record.term;
      this.#ring = record.members.map(({ pid }) => pid);
      this.#committedStep = record.step;
    } else if (record.kind === 'commit') {
      if (record.step !== this.#committedStep + 1) {
        this.#world.wrong(`step ${record.step} is committed after step ${this.#committedStep}`);
      }
      this.#committedStep = record.step;
      this.#reference.commit(record.step, record.ranks, record.gradNorm);
      this.#use.commits(record.step, this.#ring, record.ranks);
      this.#rollouts?.committed(record.step, record.ranks);
    } else if (record.kind === 'rewind') {
      this.#committedStep = record.step;
      this.#rollouts?.rewound(record.step);
    } else if (record.kind === 'rollouts') {
      this.#rollouts?.journalled(record, hashOf(this.#reference.states[record.step]!));
    }
  }

  #applied({ name, process, replicas }: Worker, step: number): void {
    this.#world.trace(`${name} applied step ${step}`);
    if (step > this.#committedStep && this.#ring.includes(process.pid)) {
      this.#world.wrong(`${name} applied step ${step}, but step ${this.#committedStep} is the last that is committed`);
    }
    const replica = replicas.at(-1);
    if (!this.#ring.includes(process.pid)) return;
    if (!replica || !this.#reference.isState(step, dense(replica.blocks))) {
      this.#world.wrong(`${name} has not the state of step ${step} after it`);
    }
  }

  /** Every window was evaluated once, whichever workers came or left. */
  #checkEvaluated({ step, valLoss, valTargets }: EvaluationMetrics): void {
    const { config, data } = this.#setting;
    const { loss, weight } = simulatedLoss(new ValidationPlan(data, config, 2 ** 30).share(0, 1, 0));
    if (valTargets === weight && valLoss === loss / weight) return;
    this.#world.wrong(
      `the evaluation of step ${step} has loss ${valLoss} of ${valTargets} targets, not ${loss / weight} of ${weight}`,
    );
  }

  #listener(): RunListener {
    return {
      started: (members) => this.#checkReady(members),
      step: () => {},
      evaluated: (metrics) => this.#checkEvaluated(metrics),
      checkpoint: (outcome) => this.#world.trace(`checkpoint ${JSON.stringify(outcome)}`),
      event: () => {},
      warning: (message) => this.#world.trace(`warning: ${message}`),
    };
  }

  /** Everyone who is ready has the state that was committed last. */
  #checkReady(members: readonly RingMember[]): void {
    for (const member of members) {
      const replica = this.#replicaOf(member);
      if (replica && !this.#reference.isState(this.#committedStep, dense(replica.blocks))) {
        this.#world.wrong(`${member.worker} is ready without the state of step ${this.#committedStep}`);
      }
    }
  }

  #replicaOf({ pid }: { pid: number }): SimReplica | undefined {
    return [...this.#workers].find(({ process }) => process.pid === pid)?.replicas.at(-1);
  }

  #evaluated({ step, valLoss }: EvaluationMetrics): void {
    if (this.#evaluations.some((other) => other.step === step)) this.#world.wrong(`step ${step} is evaluated again`);
    this.#evaluations.push({ step, loss: valLoss });
  }

  #lacksEvaluation(step: number, maxSteps: number): boolean {
    return lacksEvaluation({ evalEverySteps: this.#config.eval.everySteps, maxSteps }, step, this.#evaluations);
  }

  /** As MetricsLog.open: what is later is dropped, what is missing is added from the journal. */
  #openMetrics(step: number): void {
    this.#evaluations = this.#evaluations.filter((other) => other.step <= step);
    this.#lines = this.#lines.filter((line) => line <= step);
    const last = this.#lines.at(-1) ?? 0;
    for (let line = last + 1; line <= step; line++) this.#lines.push(line);
  }

  /** Steps that only a worker knew after a power cut. */
  #addLostLines(): void {
    for (let step = this.#lines.length + 1; this.#journal.lostSteps.has(step); step++) this.#lines.push(step);
  }

  #line(step: number): void {
    this.#addLostLines();
    const last = this.#lines.at(-1) ?? 0;
    if (step !== last + 1) this.#world.wrong(`metrics.jsonl gets step ${step} after step ${last}`);
    this.#lines.push(step);
  }

  #checkEnd(): void {
    this.#addLostLines();
    const { maxSteps, epochs } = this.#config.train;
    const { data } = this.#setting;
    const world = this.#world;
    if (this.#finishedStep === undefined) {
      world.wrong(`the run has not ended ${quietMsMost / 1_000} s after the last fault`);
    } else if (this.#finishedStep !== maxSteps) {
      world.wrong(`the run ended at step ${this.#finishedStep} of ${maxSteps}`);
    } else if (this.#checkpoints.newestStep !== maxSteps) {
      world.wrong(`the run ended, but its newest checkpoint is of step ${this.#checkpoints.newestStep}`);
    } else if (this.#lines.length !== maxSteps) {
      world.wrong(`the run ended with ${this.#lines.length} lines of ${maxSteps} steps`);
    }
    this.#checkEvaluations(maxSteps);
    this.#rollouts?.check(maxSteps);
    const used = epochs > 0 ? this.#use.problem(maxSteps, { epochs, count: data.epochSamples }) : undefined;
    if (used !== undefined) world.wrong(used);
    if (this.#rewindsLogged !== this.#rewinds) {
      world.wrong(`${this.#rewinds} times the run went back, ${this.#rewindsLogged} events say so`);
    }
  }

  /** As in a run that nothing interrupts: the steps that are due, and the last. A power cut takes the lines of steps that it takes. */
  #checkEvaluations(maxSteps: number): void {
    const steps = this.#evaluations.map(({ step }) => step).sort((a, b) => a - b);
    for (let step = 1; step <= maxSteps; step++) {
      const isMissing = this.#lacksEvaluation(step, maxSteps) && !this.#journal.lostSteps.has(step);
      if (isMissing) this.#world.wrong(`step ${step} of ${maxSteps} was never evaluated: only ${steps.join(', ')}`);
    }
    const { everySteps } = this.#config.eval;
    const extra = steps.find((step) => everySteps === 0 || (step !== maxSteps && step % everySteps !== 0));
    if (extra !== undefined) this.#world.wrong(`step ${extra} was evaluated, although it was not due`);
  }

  #result(): SimulationResult {
    const { nowMs, violation, traceHash, events, faults, recent } = this.#world;
    const { local, remote, onHost, minWorkers, config } = this.#setting;
    const setting = {
      local,
      remote,
      onHost,
      minWorkers,
      train: config.train,
      checkpoint: config.checkpoint.everySteps,
    };
    const report = [
      `seed ${this.#options.seed}: ${violation ?? 'nothing is wrong'}`,
      `setting: ${JSON.stringify(setting)}`,
      'faults:',
      ...faults,
      'last events:',
      ...recent.slice(-160),
    ].join('\n');
    return {
      seed: this.#options.seed,
      violation,
      report,
      traceHash,
      events,
      virtualMs: nowMs,
      rewinds: this.#rewinds,
      takenBack: this.#devices.reduce((sum, { copiedIn }) => sum + copiedIn, 0),
      terms: this.#term,
      faults: faults.length,
      passed: this.#passed,
      struck: this.#struck,
      together: this.#together,
      rollouts: this.#rollouts?.written ?? 0,
      failures: this.#failures,
    };
  }
}

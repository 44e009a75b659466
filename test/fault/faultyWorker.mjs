/**
 * Run by faultyWorker.ts in a process of its own: a worker like any other, which at a named moment of one of its first steps sends
 * a signal to itself, or to `victim`. Before, it prints `FAULT` and where it was, as JSON.
 * usage: node faultyWorker.mjs '{"id":…,"coordinatorAddress":…,"signal":"SIGKILL"|"SIGSTOP","moment":…,"victim":PID}'
 */
import { writeSync } from 'node:fs';
import { decodeCoordinatorMessage, decodeWorkerMessage } from '../../dist/comm/protocol.js';
import { decodeRingHeader } from '../../dist/comm/ringFrames.js';
import { zmqTransport } from '../../dist/comm/zmqLink.js';
import { Agent } from '../../dist/worker/agent.js';

/** Steps that it works before the one with the fault. */
const healthySteps = 3;

const { id, coordinatorAddress, signal, moment, victim = process.pid } = JSON.parse(process.argv[2]);
const pause = new Int32Array(new SharedArrayBuffer(4));
let term = 0;
/** The step with the fault: known from the first `form`. */
let faultStep = Number.POSITIVE_INFINITY;
let isDone = false;

function fault(step) {
  if (isDone) return;
  isDone = true;
  writeSync(1, `FAULT ${JSON.stringify({ moment, step, term, timeMs: Date.now() })}\n`);
  process.kill(victim, signal);
  // Should the signal reach another thread first, this one does nothing more.
  if (victim === process.pid) Atomics.wait(pause, 0, 0, 20);
}

/** What the worker says: `deliver` sends it. */
function onSend(message, deliver) {
  if (moment === 'checkpoint' && message.type === 'stateChunk' && message.purpose === 'checkpoint') {
    if (message.step >= faultStep) fault(message.step);
  }
  if (moment === 'optimizer' && message.type === 'applied' && message.step === faultStep) fault(message.step);
  deliver();
  if (moment === 'beforeCommit' && message.type === 'reduced' && message.step === faultStep) fault(message.step);
  // Nothing more is told before the gradients are computed: the compute thread is at work when the loop comes round.
  const isNext = message.type === 'applied' && message.step === faultStep - 1;
  if (moment === 'forward' && isNext) setImmediate(() => fault(faultStep));
}

/** What it is told: `deliver` hands it on. */
function onReceive(message, deliver) {
  if (message.type === 'form') {
    term = message.term;
    if (faultStep === Number.POSITIVE_INFINITY) faultStep = message.step + 1 + healthySteps;
    if (moment === 'forming') fault(message.step);
  }
  if (message.type === moment && message.step >= faultStep) fault(message.step);
  const isCommit = message.type === 'commit' && message.step === faultStep;
  if (moment === 'afterCommit' && isCommit) fault(message.step);
  deliver();
  if (moment === 'optimizer' && isCommit) setImmediate(() => fault(message.step));
}

function onRingFrame(header) {
  if (header?.step === faultStep && header.phase === moment) fault(header.step);
}

const sound = zmqTransport();
const transport = {
  ...sound,
  async connect(address, peerId) {
    const control = await sound.connect(address, peerId);
    return {
      send: (frame, payload) => onSend(decodeWorkerMessage(frame), () => control.send(frame, payload)),
      onMessage: (listener) =>
        control.onMessage((frame, payload) => {
          onReceive(decodeCoordinatorMessage(frame), () => listener(frame, payload));
        }),
      onServerGone: (listener) => control.onServerGone(listener),
      close: () => control.close(),
    };
  },
  async openRing(host) {
    const ring = await sound.openRing(host);
    return {
      get address() {
        return ring.address;
      },
      get dropped() {
        return ring.dropped;
      },
      connect: (next) => ring.connect(next),
      send: (header, payload) => ring.send(header, payload),
      onFrame: (listener) =>
        ring.onFrame((header, payload) => {
          onRingFrame(decodeRingHeader(header));
          return listener(header, payload);
        }),
      onNextGone: (listener) => ring.onNextGone(listener),
      disconnect: () => ring.disconnect(),
      close: () => ring.close(),
    };
  },
};

const failure = await Agent.work({ transport, coordinatorAddress, id, workersOnHost: 4, localIndex: 0, cores: 4 });
process.exit(failure === undefined ? 0 : 1);

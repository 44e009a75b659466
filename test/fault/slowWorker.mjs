/**
 * Run by unevenWorkers.test.ts in a process of its own: a worker that takes a number of milliseconds longer for each sample than its
 * processor needs, as on a slower machine.
 * usage: node slowWorker.mjs '{"id":…,"coordinatorAddress":…,"msPerSample":…}'
 */
import { setTimeout as after } from 'node:timers/promises';
import { zmqTransport } from '../../dist/comm/zmqLink.js';
import { Agent } from '../../dist/worker/agent.js';
import { ReplicaThread } from '../../dist/worker/replicaThread.js';

const { id, coordinatorAddress, msPerSample } = JSON.parse(process.argv[2]);

class SlowReplica extends ReplicaThread {
  async step(task, onBucketReady) {
    await after(task.batch.sampleCount * msPerSample);
    return super.step(task, onBucketReady);
  }
}

const makeReplica = () => new SlowReplica();
const transport = zmqTransport();
const failure = await Agent.work({
  transport,
  coordinatorAddress,
  id,
  workersOnHost: 2,
  localIndex: 0,
  cores: 2,
  makeReplica,
});
process.exit(failure === undefined ? 0 : 1);

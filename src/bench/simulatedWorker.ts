/** The entry point of a worker process with a simulated device: a complete worker except for the kernels. */
import { ReplicaThread } from '../worker/replicaThread.ts';
import { runWorkerProcess } from '../worker/workerProcess.ts';
import { simulatedDevice } from './simulatedDevice.ts';

const workerData = simulatedDevice.parse(JSON.parse(process.argv[3] ?? 'null'));
const url = new URL('./simulatedThread.js', import.meta.url);

await runWorkerProcess(() => new ReplicaThread({ url, workerData }));

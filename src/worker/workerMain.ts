/** The entry of a worker process. */
import { runWorkerProcess } from './workerProcess.ts';

await runWorkerProcess();

/** The entry point of a worker process. */
import { outliveTerminals } from '../base/lostTerminals.ts';
import { runWorkerProcess } from './workerProcess.ts';

outliveTerminals();
await runWorkerProcess();

/** The entry point of a process that computes parts of an evaluation (evaluationPool.ts). It ends with the process that started it. */
import { messageOf, UserError } from '../base/errors.ts';
import { computePart } from './evaluationParts.ts';
import type { EvaluationWorkerAnswer, EvaluationWorkerStart, PartRequest } from './evaluationPool.ts';
import { type LoadedModel, loadModel } from './loadModel.ts';

let loading: Promise<LoadedModel> | undefined;

process.on('message', (message: EvaluationWorkerStart | PartRequest) => {
  void answerTo(message)
    .catch((error: unknown) => ({ failure: messageOf(error), isUsersFault: error instanceof UserError }))
    .then((answer) => process.send?.(answer));
});
process.on('disconnect', () => process.exit());

async function answerTo(message: EvaluationWorkerStart | PartRequest): Promise<EvaluationWorkerAnswer> {
  if ('path' in message) {
    const { path, engine } = message;
    // The process that started this one has told the user of warnings.
    loading = loadModel({ path, engine, cwd: process.cwd(), onWarning: () => undefined });
    await loading;
    return { ready: true };
  }
  return { id: message.id, result: await computePart(await loading!, message.part) };
}

/**
 * What a config asks of its model that the model cannot do: train these parameters, update them with this optimizer, learn this task. For these rules the
 * parameters of the model are computed; the comparisons of two values are in crossChecks.ts.
 */
import type { ParameterSpec } from '../architecture/parameters.ts';
import { modelProblem, networkOf } from '../architecture/registry.ts';
import { isMuonMatrix, isTrainedBy, type Trainable, trainableProblem } from '../architecture/trainable.ts';
import { rewardLabels } from '../task/kinds.ts';
import type { Config } from './configTypes.ts';
import { modelOf } from './groups/model.ts';

/** What is wrong with `train.trainable`. Invalid model sizes are ignored here: other rules report them. */
export function trainableProblemOf({ train, model, task }: Config): string | undefined {
  if (train.trainable === 'all') return undefined;
  const sized = modelOf(withHead(model, task), model.vocabSize || 1);
  return modelProblem(sized) === undefined ? trainableProblem(train.trainable, networkOf(sized).specs) : undefined;
}

/** Why Muon has nothing to update; undefined if it has. */
export function muonProblemOf({ optimizer: { kind }, train, model, task }: Config): string | undefined {
  const sized = modelOf(withHead(model, task), model.vocabSize || 1);
  if (kind === 'adamw' || modelProblem(sized) !== undefined) return undefined;
  const { specs } = networkOf(sized);
  const trained = specs.filter(isTrainedBy(train.trainable));
  if (trained.some(isMuonMatrix)) return undefined;
  return `${muonCause(train.trainable, { specs, trained })}. Set optimizer.kind to adamw`;
}

function muonCause(
  trainable: Trainable,
  { specs, trained }: Record<'specs' | 'trained', readonly ParameterSpec[]>,
): string {
  const matrices = specs.filter(isMuonMatrix);
  if (matrices.length === 0) return 'it has no blocks with weight matrices';
  if (trained.some(({ isAdapter = false }) => isAdapter)) {
    return 'the run trains adapters (model.loraRank), which AdamW updates';
  }
  return `train.trainable ${JSON.stringify(trainable)} trains no weight matrix of a block`;
}

/** The labels of a task that are known before its rows: those of `model.labels`, or a number of them that stands for any. */
function expectedLabels({ labels }: { labels: string[] }, { kind }: Config['task']): string[] {
  if (labels.length > 0) return labels;
  if (kind === 'classify') return ['0', '1'];
  return kind === 'reward' ? [...rewardLabels] : [];
}

/** The model with the head that it gets with the labels of its rows. */
function withHead(model: Config['model'], task: Config['task']): Config['model'] {
  return {
    ...model,
    ...('labels' in model && { labels: expectedLabels(model, task) }),
    ...('valueHead' in model && { valueHead: task.kind === 'ppo' }),
  } as Config['model'];
}

/** Why the head of `model.labels` cannot learn the task; undefined if it can. */
export function headProblemOf({ model, task: { kind } }: Config): string | undefined {
  const labels = 'labels' in model ? model.labels.length : 0;
  if (labels === 0 || (kind === 'classify' && labels > 1) || (kind === 'reward' && labels === 1)) return undefined;
  if (kind === 'classify') return 'expected the names of at least two classes, or [] for those of the rows';
  if (kind === 'reward') return 'expected one name, or [] for [reward]';
  return `expected [], because ${kind} needs a language model`;
}

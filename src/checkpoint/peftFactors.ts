/** Reads the factors of PEFT's adapters for layers that Lockstep merges: each of those layers has A and B of its own there. */
import { type ModelConfig, networkOf } from '../architecture/registry.ts';
import { UserError } from '../base/errors.ts';
import { hashFile } from '../base/wholeFiles.ts';
import { modulesHolding } from './peftAdapter.ts';
import type { SafetensorsEntry, TensorShape } from './safetensors.ts';

/** A tensor of an adapter, with the entries of the file that hold its numbers, one after another. */
interface AdapterTensor<Entry> extends TensorShape {
  readonly parts: readonly Entry[];
}

/**
 * The tensors of an adapter, in which those of layers that Lockstep merges are the parts of one.
 * @param config the model with the adapter
 * @param path the file
 * @throws UserError if the layers have different A: no adapter of the merged layer with this rank computes the same
 */
export async function withMergedFactors<Entry extends SafetensorsEntry>(
  tensors: readonly AdapterTensor<Entry>[],
  config: ModelConfig,
  path: string,
): Promise<readonly AdapterTensor<Entry>[]> {
  const left = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const merged: AdapterTensor<Entry>[] = [];
  for (const { name, shape, isAdapter } of networkOf(config).specs) {
    const modules = isAdapter === true ? modulesHolding({ name, shape }, config) : [];
    const parts = modules.flatMap((module) => left.get(module.name) ?? []);
    const [first] = parts;
    // What is missing is reported with the other tensors.
    if (first === undefined || modules.length < 2 || parts.length < modules.length) continue;
    for (const part of parts) left.delete(part.name);
    if (name.endsWith('.lora_A.weight')) {
      await checkEqual(parts, path);
      merged.push({ ...first, name });
    } else {
      const rows = parts.reduce((sum, part) => sum + (part.shape[0] ?? 0), 0);
      merged.push({ name, shape: [rows, ...first.shape.slice(1)], parts: parts.flatMap((part) => part.parts) });
    }
  }
  return [...left.values(), ...merged];
}

async function checkEqual(tensors: readonly AdapterTensor<SafetensorsEntry>[], path: string): Promise<void> {
  const contents = new Set<string>();
  for (const { shape, parts } of tensors) {
    for (const { begin, end } of parts) contents.add(`${shape} ${await hashFile(path, end - begin, begin)}`);
  }
  if (contents.size === 1) return;
  throw new UserError(
    `${path}: ${tensors.map(({ name }) => name).join(', ')} differ, but Lockstep has one adapter for these layers. Merge this one with PEFT (merge_and_unload)`,
  );
}

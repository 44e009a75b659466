/** The parameters of a model whose file of weights is in memory. */
import type { ModelConfig } from '../architecture/registry.ts';
import { UserError } from '../base/errors.ts';
import { fixedTable, matchTensors } from './modelConfig.ts';
import { elementCount, headerOf } from './safetensors.ts';

/**
 * The numbers of a parameter by its name in the model. A file in Hugging Face's format may have several tensors for it, one after another
 * in the parameter.
 * @param config the model that the file was written for
 * @param path names the file in errors
 * @throws UserError if the file is damaged, is of another model, or has other numbers than float32
 */
export function fileParameters(file: Uint8Array, config: ModelConfig, path: string): (name: string) => Float32Array {
  const matched = matchTensors(headerOf(file, path).entries, config, path);
  for (const { name, dtype } of [...matched.values()].flatMap(({ parts }) => parts)) {
    if (dtype !== 'F32') throw new UserError(`${path}: tensor ${name} is ${dtype}: expected F32`);
  }
  return (wanted) => {
    const found = matched.get(wanted);
    if (found === undefined) throw new UserError(`${path} has no parameter ${wanted}`);
    if (found.parts.length === 0) return fixedTable(found.shape);
    const values = new Float32Array(elementCount(found.shape));
    const bytes = new Uint8Array(values.buffer);
    let filled = 0;
    for (const { begin, end } of found.parts) {
      bytes.set(file.subarray(begin, end), filled);
      filled += end - begin;
    }
    return values;
  };
}

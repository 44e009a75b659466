/** Renders a config as YAML with the documentation of every key as a comment. Loading it gives an equal config. */
import type { Config } from './configTypes.ts';
import { configGroups, keysIn } from './keys.ts';

const commentWidth = 110;

/** The text of a run's `config.yaml`. */
export function renderConfig(config: Config): string {
  const lines: string[] = [];
  for (const group of configGroups) {
    lines.push(...comment(group.doc, ''), `${group.name}:`);
    const values: Readonly<Record<string, unknown>> = { ...config[group.name as keyof Config] };
    for (const key of keysIn(group, values)) {
      // JSON is YAML: strings quoted and escaped, numbers in full.
      lines.push(...comment(key.doc, '  '), `  ${key.name}: ${JSON.stringify(values[key.name])}`);
    }
    lines.push('');
  }
  return lines.join('\n');
}

/** Wrapped at words. */
function comment(text: string, indent: string): string[] {
  const lines: string[] = [];
  let line = `${indent}#`;
  for (const word of text.split(' ')) {
    if (line.length + word.length >= commentWidth) {
      lines.push(line);
      line = `${indent}#`;
    }
    line += ` ${word}`;
  }
  return [...lines, line];
}

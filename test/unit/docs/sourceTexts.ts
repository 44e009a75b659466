/** Every text that is written in src/, with its holes: string and template literals; those that are added together are one. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseSync } from 'oxc-parser';
import { globSync } from 'tinyglobby';
import { packageRoot } from '../../../src/base/packageRoot.ts';

/** Represents, in a text, what is inserted when the program runs. */
export const hole = '\0';

/** As much of ESTree as is needed here. */
interface Node {
  readonly type: string;
  readonly [key: string]: unknown;
}

export function textsOfSource(): Set<string> {
  const texts = new Set<string>();
  for (const name of globSync('src/**/*.ts', { cwd: packageRoot })) {
    const { program, errors } = parseSync(name, readFileSync(join(packageRoot, name), 'utf8'));
    if (errors.length > 0) throw new Error(`${name}: ${errors[0]?.message}`);
    for (const text of textsIn(program)) texts.add(text.replaceAll(/\s+/g, ' '));
  }
  return texts;
}

/** The texts in a tree: a complete one, and those inside its holes. */
export function* textsIn(tree: unknown): Generator<string> {
  if (Array.isArray(tree)) {
    for (const item of tree) yield* textsIn(item);
    return;
  }
  if (!isNode(tree)) return;
  const whole = textOf(tree);
  if (whole !== undefined) yield whole;
  for (const child of whole === undefined ? Object.values(tree) : holesOf(tree)) yield* textsIn(child);
}

/** Undefined for what is not text, like a sum of numbers. */
function textOf(node: Node): string | undefined {
  if (node.type === 'Literal') return typeof node['value'] === 'string' ? node['value'] : undefined;
  if (node.type === 'TemplateLiteral') {
    const named = (node['expressions'] as Node[]).map(settingOf);
    return (node['quasis'] as { value: { cooked: string } }[])
      .map(({ value }, i) => `${value.cooked}${named[i] ?? (i < named.length ? hole : '')}`)
      .join('');
  }
  if (node.type !== 'BinaryExpression' || node['operator'] !== '+') return undefined;
  const [left, right] = [node['left'] as Node, node['right'] as Node].map(textOf);
  return left === undefined && right === undefined ? undefined : `${left ?? hole}${right ?? hole}`;
}

/** What a call in a text names at a command line: `--run-dir` for `optionName('run-dir')`. */
function settingOf(node: Node): string | undefined {
  if (node.type !== 'CallExpression') return undefined;
  const words = (node['arguments'] as Node[]).map(textOf);
  switch ((node['callee'] as Node)['name']) {
    case 'optionName':
      return `--${words[0]}`;
    case 'overrideText':
      return `--set ${words[0] ?? hole}`;
    case 'settingText':
      return words[0]?.includes('.') === true ? `--set ${words[0]}=${words[1] ?? hole}` : undefined;
    default:
      return undefined;
  }
}

/** What a text is put together from and is not written in it. */
function holesOf(node: Node): unknown[] {
  if (node.type === 'TemplateLiteral') return node['expressions'] as unknown[];
  if (node.type !== 'BinaryExpression') return [];
  return [node['left'] as Node, node['right'] as Node].flatMap((side) =>
    textOf(side) === undefined ? [side] : holesOf(side),
  );
}

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && 'type' in value;
}

/** Whether one of `texts` is `message`, in which … stands for any holes and any text. */
export function isWritten(message: string, texts: Iterable<string>): boolean {
  const parts = message.split('…').map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  const pattern = new RegExp(`^${parts.join('.*')}$`, 's');
  for (const text of texts) if (pattern.test(text)) return true;
  return false;
}

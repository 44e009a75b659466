/**
 * Parses YAML into a plain object and the line of each key, so that a later check can name it. It accepts only what a config needs:
 * one document, one map of maps. Aliases are refused, so a small file cannot grow into a large object.
 */
import { type Document, isMap, isScalar, LineCounter, type Node, parseDocument, visit, type YAMLMap } from 'yaml';
import { messageOf, UserError } from '../base/errors.ts';

export interface YamlSource {
  readonly value: unknown;
  /** Line (from 1) of the key at `path`, or of the nearest enclosing one. */
  lineOf(path: readonly PropertyKey[]): number;
}

/** Parses `text`; every error names `file` and the line. */
export function parseYaml(text: string, file: string): YamlSource {
  const lineCounter = new LineCounter();
  const lineAt = (node: Node) => lineCounter.linePos(node.range?.[0] ?? 0).line;
  const document = guarded(file, () =>
    parseDocument(text, { lineCounter, uniqueKeys: true, stringKeys: true, prettyErrors: false, logLevel: 'error' }),
  );
  const problem = document.errors[0] ?? document.warnings[0];
  if (problem) {
    const line = lineCounter.linePos(problem.pos[0]).line;
    throw new UserError(`${file}:${line}: ${sentence(problem.message, problem.code)}`);
  }
  refuseAliases(document, (node) => `${file}:${lineAt(node)}`);
  visit(document, {
    Pair(_key, { key }) {
      // An object cannot hold this key as a plain property, so the schema would never see it.
      if (isScalar(key) && key.value === '__proto__') {
        throw new UserError(`${file}:${lineAt(key)}: unknown key __proto__.`);
      }
    },
  });
  const root = document.contents;
  if (root !== null && !isMap(root) && !(isScalar(root) && root.value === null)) {
    throw new UserError(
      `${file}:${lineAt(root)}: expected groups of keys (model:, train:, ...), received ${isScalar(root) ? `the text ${JSON.stringify(String(root.value).slice(0, 60))}` : 'a list'}.`,
    );
  }
  const value: unknown = guarded(file, () => document.toJS({ maxAliasCount: 0 })) ?? {};
  return { value: withoutEmptyGroups(value), lineOf: (path) => lineOfPath(root, path, lineCounter) };
}

/** @throws UserError for the first alias in the document, with its position */
export function refuseAliases(document: Document, whereOf: (node: Node) => string): void {
  visit(document, {
    Alias(_key, node) {
      throw new UserError(
        `${whereOf(node)}: YAML aliases are not supported, received *${node.source}. Write the value out; a string that starts with * needs quotes.`,
      );
    },
  });
}

/** A group whose keys are all commented out parses as null; it means the defaults. */
function withoutEmptyGroups(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).filter(([, group]) => group !== null));
}

function lineOfPath(root: unknown, path: readonly PropertyKey[], lineCounter: LineCounter): number {
  let line = 1;
  let node: unknown = root;
  for (const part of path) {
    if (!isMap(node)) break;
    const pair = (node as YAMLMap).items.find(({ key }) => isScalar(key) && key.value === part);
    if (!pair) break;
    line = lineCounter.linePos((pair.key as Node).range?.[0] ?? 0).line;
    node = pair.value;
  }
  return line;
}

function sentence(message: string, code: string): string {
  if (code === 'DUPLICATE_KEY') return 'duplicate key; remove one of the two.';
  if (code === 'MULTIPLE_DOCS') return 'expected one YAML document, received a second one (---).';
  return `not valid YAML: ${message}`;
}

/** The parser recurses, so very deep nesting overflows the stack: an error in the file, not in the program. */
export function guarded<T>(file: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw new UserError(
      `${file}: not valid YAML: ${error instanceof RangeError ? 'nested too deeply' : messageOf(error)}`,
    );
  }
}

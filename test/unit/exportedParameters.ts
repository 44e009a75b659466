/** Every parameter of what src/index.ts exports: functions, constructors and methods, with the type that each parameter is declared with. */
import { readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { parseSync } from 'oxc-parser';
import { packageRoot } from '../../src/base/packageRoot.ts';

/** As much of ESTree as is needed here. */
// biome-ignore lint/suspicious/noExplicitAny: the parser's types have no common form of functions and methods
type Node = any;

export interface ExportedParameter {
  /** `train`, `Trainer` (its constructor), `Trainer.microStep`. */
  readonly callable: string;
  /** As declared: `TrainOptions`, `readonly Seed[]`. */
  readonly type: string;
}

export function exportedParameters(): ExportedParameter[] {
  return moduleOf('src/index.ts').body.flatMap(({ type, source, specifiers = [], exportKind }: Node) => {
    if (type !== 'ExportNamedDeclaration' || exportKind === 'type') return [];
    const path = posix.join('src', source.value);
    return specifiers
      .filter((specifier: Node) => specifier.exportKind !== 'type')
      .flatMap(({ local }: Node) => parametersOf(path, local.name));
  });
}

function parametersOf(path: string, name: string): ExportedParameter[] {
  const { source, body } = moduleOf(path);
  const declared: Node[] = body.flatMap(({ declaration }: Node) => declaration ?? []);
  const found = declared.find(({ id, declarations }) =>
    [id, ...(declarations ?? []).map((d: Node) => d.id)].some((each) => each?.name === name),
  );
  if (found === undefined) throw new Error(`${path} exports ${name}, which is not declared there`);
  const of = (callable: string, params: Node[]): ExportedParameter[] =>
    params.map((param) => ({ callable, type: typeOf(param, source, `${path}: ${callable}`) }));
  switch (found.type) {
    case 'FunctionDeclaration':
      return of(name, found.params);
    case 'ClassDeclaration':
      return found.body.body
        .filter(
          ({ type, key, accessibility }: Node) =>
            type === 'MethodDefinition' && key.type === 'Identifier' && accessibility !== 'private',
        )
        .flatMap(({ key, kind, value }: Node) =>
          of(kind === 'constructor' ? name : `${name}.${key.name}`, value.params),
        );
    default:
      return [];
  }
}

function typeOf(param: Node, source: string, at: string): string {
  const annotation = (param.typeAnnotation ?? param.left?.typeAnnotation)?.typeAnnotation;
  // A default value says the type: one of a primitive, or an object made here.
  if (annotation === undefined && param.type === 'AssignmentPattern')
    return `= ${source.slice(param.right.start, param.right.end)}`;
  if (annotation === undefined) throw new Error(`${at} has a parameter without a type`);
  return source.slice(annotation.start, annotation.end).replaceAll(/\s+/g, ' ');
}

function moduleOf(path: string): { source: string; body: Node[] } {
  const source = readFileSync(join(packageRoot, path), 'utf8');
  const { program, errors } = parseSync(path, source);
  if (errors.length > 0) throw new Error(`${path}: ${errors[0]?.message}`);
  return { source, body: program.body };
}

/**
 * Checks objects as an API server does: values against the published schemas, and keys against the published types, since the schemas
 * allow keys that they do not know. Both are of the package kubernetes-models, which is generated from the OpenAPI of Kubernetes.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { parseSync } from 'oxc-parser';

const require = createRequire(import.meta.url);

/** Files of the objects that can be checked. */
const modules: Readonly<Record<string, string>> = {
  Job: require.resolve('kubernetes-models/batch/v1/Job'),
  PersistentVolumeClaim: require.resolve('kubernetes-models/v1/PersistentVolumeClaim'),
  Service: require.resolve('kubernetes-models/v1/Service'),
};

type Fields = Readonly<Record<string, unknown>>;

/** @throws Error that names the path of the first wrong value or unknown key */
export function checkKubernetesObject(object: Fields): void {
  const kind = String(object['kind']);
  const module = modules[kind];
  if (module === undefined) throw new Error(`kind: ${kind} is not known here`);
  const model = require(module)[kind] as { new (data: Fields): { validate(): void }; apiVersion: string };
  if (object['apiVersion'] !== model.apiVersion) throw new Error(`apiVersion: expected ${model.apiVersion}`);
  new model(object).validate();
  checkKeys(object, { file: typesOf(module), name: `I${kind}` }, kind);
}

/** An interface, or another type with a name, in a file of types. */
interface Named {
  readonly file: string;
  readonly name: string;
}

/** The nodes of a syntax tree that types of Kubernetes consist of. */
interface Node {
  readonly type: string;
  readonly [part: string]: unknown;
}

interface Types {
  readonly interfaces: ReadonlyMap<string, Node>;
  /** Local names of imported types. */
  readonly imported: ReadonlyMap<string, string>;
}

function checkKeys(value: unknown, type: Named, path: string): void {
  const declared = typesIn(type.file).interfaces.get(type.name);
  // Quantities, times and numbers with a unit: the schema checks their values.
  if (declared === undefined) return;
  if (typeof value !== 'object' || value === null) throw new Error(`${path}: expected an object`);
  const properties = new Map(
    (declared['body'] as { body: Node[] }).body.map((member) => [
      String((member['key'] as Node)['value'] ?? (member['key'] as Node)['name']),
      (member['typeAnnotation'] as Node)['typeAnnotation'] as Node,
    ]),
  );
  for (const [key, inner] of Object.entries(value)) {
    const isTypeMeta = ['apiVersion', 'kind'].includes(key) && declared['extends'] !== undefined;
    const annotation = properties.get(key);
    if (annotation !== undefined) checkType(inner, annotation, type.file, `${path}.${key}`);
    else if (!isTypeMeta) throw new Error(`${path}.${key}: unknown key`);
  }
}

function checkType(value: unknown, annotation: Node, file: string, path: string): void {
  if (annotation.type !== 'TSTypeReference') return;
  const name = String((annotation['typeName'] as Node)['name']);
  if (name === 'Array') {
    const [element] = (annotation['typeArguments'] as { params: Node[] }).params;
    for (const [index, item] of (value as unknown[]).entries())
      checkType(item, element as Node, file, `${path}[${index}]`);
    return;
  }
  const source = typesIn(file).imported.get(name);
  if (source === undefined) throw new Error(`${path}: no type ${name} in ${file}`);
  const target = typesOf(createRequire(file).resolve(source));
  // Exported as IIoK8sApiBatchV1JobSpec, declared as IJobSpec.
  const local = [...typesIn(target).interfaces.keys()].find((candidate) => name.endsWith(candidate.slice(1)));
  checkKeys(value, { file: target, name: local ?? '' }, path);
}

const parsed = new Map<string, Types>();

function typesIn(file: string): Types {
  const known = parsed.get(file);
  if (known !== undefined) return known;
  const interfaces = new Map<string, Node>();
  const imported = new Map<string, string>();
  for (const statement of parseSync(file, readFileSync(file, 'utf8')).program.body as unknown as Node[]) {
    const declared = (statement['declaration'] ?? statement) as Node;
    if (declared.type === 'TSInterfaceDeclaration') interfaces.set(String((declared['id'] as Node)['name']), declared);
    if (statement.type !== 'ImportDeclaration') continue;
    for (const specifier of statement['specifiers'] as Node[]) {
      imported.set(String((specifier['local'] as Node)['name']), String((statement['source'] as Node)['value']));
    }
  }
  const types = { interfaces, imported };
  parsed.set(file, types);
  return types;
}

/** The file of types beside a module. */
function typesOf(module: string): string {
  return module.replace(/\.js$/, '.d.ts');
}

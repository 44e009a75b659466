/**
 * Holds the table in layers.mjs, and that no modules import each other in a circle. Imports of types count as imports of values do.
 * Prints a line for each violation, and ends with 1 if there is any. Usage: node scripts/check-layers.mjs [folder that holds src/]
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseSync, Visitor } from 'oxc-parser';
import { mayImport, pure } from './layers.mjs';

const root = process.argv[2] ?? fileURLToPath(new URL('..', import.meta.url));
const modules = new Map(
  readdirSync(join(root, 'src'), { recursive: true })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => posix.join('src', name.replaceAll('\\', '/')))
    .sort()
    .map((path) => [path, importsOf(path)]),
);
const violations = [...forbiddenImports(), ...circles()];
for (const violation of violations) process.stderr.write(`${violation}\n`);
if (violations.length > 0) process.exitCode = 1;

/** The files (as paths from the root) and the modules of Node that a module names in `import`, `export from`, `import()` or `import('…').Type`. */
function importsOf(path) {
  const { program, errors } = parseSync(path, readFileSync(join(root, path), 'utf8'));
  if (errors.length > 0) throw new Error(`${path}: ${errors[0].message}`);
  const found = new Set();
  const add = ({ source }) => {
    const name = source?.value ?? '';
    if (name.startsWith('.')) found.add(posix.join(posix.dirname(path), name));
    if (name.startsWith('node:')) found.add(name);
  };
  new Visitor({
    ImportDeclaration: add,
    ExportNamedDeclaration: add,
    ExportAllDeclaration: add,
    ImportExpression: add,
    TSImportType: add,
  }).visit(program);
  return [...found];
}

/** The row of the table that a file belongs to: the longest one that its path starts with. '' for files directly in src/. */
function layerOf(path) {
  const folders = posix.dirname(path).split('/').slice(1);
  for (let depth = folders.length; depth > 0; depth--) {
    const layer = folders.slice(0, depth).join('/');
    if (layer in mayImport) return layer;
  }
  return folders[0] ?? '';
}

function* forbiddenImports() {
  for (const [path, imports] of modules) {
    const layer = layerOf(path);
    if (layer === '') continue;
    const allowed = mayImport[layer]?.split(' ').filter((name) => name !== '');
    if (allowed === undefined) yield `${path}: src/${layer} has no line in scripts/layers.mjs`;
    for (const target of imports) {
      const reason = faultOf(target, layer, allowed ?? []);
      if (reason !== undefined) yield `${path} imports ${target}: ${reason} (scripts/layers.mjs)`;
    }
  }
}

function faultOf(target, layer, allowed) {
  if (target.startsWith('node:')) return pure.includes(layer) ? `src/${layer} is pure` : undefined;
  if (!target.startsWith('src/')) return 'the product needs nothing from beside src/';
  const needed = layerOf(target);
  return needed === layer || allowed.includes(needed) ? undefined : `src/${layer} may not import src/${needed}`;
}

/** One circle through each module that is in one and not in a circle printed before: the shortest. */
function* circles() {
  const printed = new Set();
  for (const start of modules.keys()) {
    const circle = printed.has(start) ? undefined : shortestCircle(start);
    for (const path of circle ?? []) printed.add(path);
    if (circle !== undefined) yield `circle: ${[...circle, start].join(' → ')}`;
  }
}

/** Breadth first from a module back to itself. */
function shortestCircle(start) {
  const routes = [[start]];
  const seen = new Set();
  for (const route of routes) {
    for (const target of modules.get(route.at(-1)) ?? []) {
      if (target === start) return route;
      if (!seen.has(target)) routes.push([...route, target]);
      seen.add(target);
    }
  }
  return undefined;
}

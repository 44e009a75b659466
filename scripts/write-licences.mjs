// Writes docs/licences.md, the licences of every package that `npm install --omit=dev` can install: run `npm run docs:licences` after
// changing a dependency. With `--print` it prints the page instead. test/unit/docs/licences.test.ts fails when the page is out of date.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';

const root = new URL('../', import.meta.url);
const { packages } = JSON.parse(readFileSync(new URL('package-lock.json', root), 'utf8'));

/** @returns {string} the page */
function licencesPage() {
  const rows = Object.entries(packages)
    .filter(
      ([path, entry]) => path.includes('node_modules/') && !entry.dev && !entry.link && entry.version !== undefined,
    )
    .map(([path, { version, license, optional, devOptional }]) => ({
      name: path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length),
      version,
      licence: license ?? licenceOf(path),
      optional: optional === true || devOptional === true,
    }))
    .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : a.version < b.version ? -1 : 1));
  const required = rows.filter(({ optional }) => !optional);
  const optional = rows.filter((row) => row.optional);
  return `# Licences of the dependencies

\`npm run docs:licences\` writes this page from \`package-lock.json\`. Lockstep itself is under the [MIT licence](../LICENSE).

## Required: ${required.length} packages

${table(required)}

## Optional: ${optional.length} packages

npm installs the ones that fit the platform, usually one of each family.

${table(optional)}

## Copied into \`dist/\`

The build copies parts of development dependencies, with their licences: the byte-pair ranks of gpt-tokenizer ${versionOf('gpt-tokenizer')} (MIT,
\`dist/bpeRanks\`), and two weights of the font Inter from @expo-google-fonts/inter ${versionOf('@expo-google-fonts/inter')} (SIL Open Font License 1.1, \`dist/fonts\`).
`;
}

function versionOf(name) {
  return packages[`node_modules/${name}`].version;
}

/** For packages whose licence the lock file does not have: an old package.json, or one part of a family for another platform. */
function licenceOf(path) {
  const file = new URL(`${path}/package.json`, root);
  if (existsSync(file)) {
    const { license, licenses } = JSON.parse(readFileSync(file, 'utf8'));
    const named = license ?? licenses?.map(({ type }) => type).join(' OR ');
    if (typeof named === 'string') return named;
  }
  const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
  const family = Object.values(packages).find(
    ({ optionalDependencies, license }) => license && optionalDependencies?.[name],
  );
  if (family === undefined) throw new Error(`no licence is known for ${path}`);
  return family.license;
}

function table(rows) {
  const cells = [
    ['package', 'version', 'licence'],
    ...rows.map(({ name, version, licence }) => [name, version, licence]),
  ];
  const widths = [0, 1, 2].map((column) => Math.max(...cells.map((row) => row[column].length)));
  const line = (row) => `| ${row.map((text, column) => text.padEnd(widths[column])).join(' | ')} |`;
  const [head, ...body] = cells.map(line);
  return [head, `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`, ...body].join('\n');
}

if (process.argv.includes('--print')) process.stdout.write(licencesPage());
else writeFileSync(new URL('docs/licences.md', root), licencesPage());

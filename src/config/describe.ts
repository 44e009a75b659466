/** The reference of all config keys as Markdown. scripts/write-config-docs.mjs writes it to docs/config.md. */
import { type ConfigKey, configGroups } from './keys.ts';
import { shippedConfigs } from './locate.ts';

/** Every group and key with its meaning, default and accepted values. */
export function describeConfig(): string {
  const shipped = shippedConfigs().map((name) => `\`${name}.yaml\``);
  const head = `# Config keys

A config is a YAML file with the groups below; every key is optional. \`launch --config NAME\` looks for a name without a path
in the working folder, then among the configs shipped with the package:
${shipped.join(', ')}.
Without \`--config\`, \`quickstart.yaml\` runs. \`--set group.key=value\` overrides a key and can be repeated. Unknown keys are errors.

This page is generated from the schema (\`src/config/schema.ts\`, \`src/architecture\`) by \`scripts/write-config-docs.mjs\`; edit the schema.
`;
  const groups = configGroups.map(({ name, doc, keys, variants }) => {
    const parts = variants.map(
      (variant) => `### ${keys[0]?.path}: ${variant.name}\n\n${variant.doc}\n\n${itemsOf(variant.keys)}\n`,
    );
    return [`## ${name}\n\n${doc}\n\n${itemsOf(keys)}\n`, ...parts].join('\n');
  });
  return [head, ...groups].join('\n');
}

function itemsOf(keys: readonly ConfigKey[]): string {
  return keys
    .map(
      ({ path, doc, expects, defaultValue }) =>
        `- \`${path}\`: ${doc} Default \`${JSON.stringify(defaultValue)}\`, ${expects}.`,
    )
    .join('\n');
}

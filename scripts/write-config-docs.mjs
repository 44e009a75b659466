// Writes docs/config.md, configs/schema.json and src/config/configTypes.ts from the config schema. Run it after changing the schema: npm run build && node scripts/write-config-docs.mjs
import { writeFileSync } from 'node:fs';
import { describeConfig } from '../dist/config/describe.js';
import { describeTypes } from '../dist/config/describeTypes.js';
import { configJsonSchema } from '../dist/config/jsonSchema.js';

writeFileSync(new URL('../docs/config.md', import.meta.url), describeConfig());
writeFileSync(new URL('../src/config/configTypes.ts', import.meta.url), describeTypes());
writeFileSync(new URL('../configs/schema.json', import.meta.url), configJsonSchema());

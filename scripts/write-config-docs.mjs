// Writes docs/config.md and configs/schema.json from the config schema. Run it after changing the schema: npm run build && node scripts/write-config-docs.mjs
import { writeFileSync } from 'node:fs';
import { describeConfig } from '../dist/config/describe.js';
import { configJsonSchema } from '../dist/config/jsonSchema.js';

writeFileSync(new URL('../docs/config.md', import.meta.url), describeConfig());
writeFileSync(new URL('../configs/schema.json', import.meta.url), configJsonSchema());

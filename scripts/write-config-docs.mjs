// Writes docs/config.md, configs/schema.json and src/config/configTypes.ts from the config schema: run `npm run docs:config` after changing it.
// It runs compiled code, but the types that it writes are those that the code is checked with: that step compiles without checking.
import { writeFileSync } from 'node:fs';
import { describeConfig } from '../dist/config/describe.js';
import { describeTypes } from '../dist/config/describeTypes.js';
import { configJsonSchema } from '../dist/config/jsonSchema.js';

writeFileSync(new URL('../docs/config.md', import.meta.url), describeConfig());
writeFileSync(new URL('../src/config/configTypes.ts', import.meta.url), describeTypes());
writeFileSync(new URL('../configs/schema.json', import.meta.url), configJsonSchema());

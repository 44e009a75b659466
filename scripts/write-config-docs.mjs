// Writes docs/config.md from the config schema. Run it after changing the schema: npm run build && node scripts/write-config-docs.mjs
import { writeFileSync } from 'node:fs';
import { describeConfig } from '../dist/config/describe.js';

writeFileSync(new URL('../docs/config.md', import.meta.url), describeConfig());

/** The version of this package, as package.json states it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { packageRoot } from './packageRoot.ts';

const packageJson = z.object({ version: z.string() });

/** Of the package: `0.1.0`. */
export const version: string = packageJson.parse(
  JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')),
).version;

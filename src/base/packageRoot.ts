/**
 * Where the installed package lies on disk: the folder with package.json, configs/, src/, native/ and docs/. The same from
 * `src/` (tests) and from `dist/` (the built command), which are both one folder below it.
 */
import { fileURLToPath } from 'node:url';

/** Absolute path of the package's folder, ending in a separator. */
export const packageRoot: string = fileURLToPath(new URL('../../', import.meta.url));

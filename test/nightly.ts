/**
 * Cases that CI leaves to `scripts/nightly.sh`: beside the others of their kind, which always run, they find little for the time that
 * they take. `LOCKSTEP_NIGHTLY=1` runs them, and repeats more often what asks `isNightly`. A file that has such cases is listed in
 * `skippedTests.ts`.
 */
import { it } from 'vitest';
import { isNightly } from './skippedTests.ts';

export const nightlyIt = it.skipIf(!isNightly);

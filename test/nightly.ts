/**
 * Cases that CI leaves to `scripts/nightly.sh`: beside the others of their kind, which always run, they find little for the time that
 * they take. `LOCKSTEP_NIGHTLY=1` runs them. A file that has some is listed in `skippedTests.ts`.
 */
import { it } from 'vitest';

export const nightlyIt = it.skipIf(process.env['LOCKSTEP_NIGHTLY'] !== '1');

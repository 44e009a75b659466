/**
 * Property tests draw the same cases every time, so that a red run can be repeated and a green one means the same everywhere.
 * Other cases: LOCKSTEP_TEST_SEED=7 npx vitest run --project unit.
 */
import fc from 'fast-check';

fc.configureGlobal({ seed: Number(process.env['LOCKSTEP_TEST_SEED'] ?? 1) });

import { defineConfig } from 'vitest/config';

/** They hold runs to deadlines of a second or two, or measure speed: nothing else runs beside them. */
const alone = [
  'e2e/stranger',
  'fault/chaos',
  'fault/comeAndGo',
  'fault/coordinatorDeath',
  'fault/namespaces',
  'fault/otherAddress',
  'fault/ringKill',
  'fault/survive',
  'fault/unevenWorkers',
  'fault/workerDeath',
].map((name) => `test/${name}.test.ts`);

const projects = ['unit', 'bench', 'simulator', 'parity', 'fault', 'cluster', 'e2e'].map((name) => ({
  name,
  include: [`test/${name}/**/*.test.ts`],
  exclude: alone,
}));

/**
 * `unit` and `bench` are quick and part of `npm run check`; `simulator` takes a minute; `fault`, `cluster`, `e2e` and `alone` need the built `dist/`
 * and take minutes.
 */
export default defineConfig({
  test: {
    // All cores: by default one is left idle.
    maxWorkers: '100%',
    // With --coverage: for scripts/coverage.mjs, modules that no test imports too.
    coverage: { include: ['src/**/*.ts'], reporter: ['json-summary'], reportsDirectory: 'build/coverage' },
    projects: [...projects, { name: 'alone', include: alone, fileParallelism: false }].map((project) => ({
      test: {
        ...project,
        testTimeout: project.name === 'unit' || project.name === 'bench' ? 20_000 : 300_000,
        hookTimeout: 120_000,
        // A second, the default, is a deadline that a busy machine misses.
        expect: { poll: { timeout: 30_000 } },
        setupFiles: ['test/setup.ts'],
        pool: 'forks' as const,
      },
    })),
  },
});

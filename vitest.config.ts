import { defineConfig } from 'vitest/config';

/** `unit` and `bench` are quick and part of `npm run check`; `simulator` takes a minute; the others need the built `dist/` and take minutes. */
export default defineConfig({
  test: {
    // Of two cores both: by default one is left idle.
    maxWorkers: '100%',
    projects: ['unit', 'bench', 'simulator', 'parity', 'fault', 'e2e'].map((name) => ({
      test: {
        name,
        include: [`test/${name}/**/*.test.ts`],
        testTimeout: name === 'unit' || name === 'bench' ? 20_000 : 300_000,
        hookTimeout: 120_000,
        setupFiles: ['test/setup.ts'],
        pool: 'forks' as const,
        fileParallelism: name !== 'fault' && name !== 'e2e',
      },
    })),
  },
});

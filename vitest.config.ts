import { defineConfig } from 'vitest/config';

/** `unit` is quick and part of `npm run check`; `simulator` takes a minute; the others need the built `dist/` and take minutes. */
export default defineConfig({
  test: {
    // Of two cores both: by default one is left idle.
    maxWorkers: '100%',
    projects: ['unit', 'simulator', 'parity', 'fault', 'e2e'].map((name) => ({
      test: {
        name,
        include: [`test/${name}/**/*.test.ts`],
        testTimeout: name === 'unit' ? 20_000 : 300_000,
        hookTimeout: 120_000,
        setupFiles: ['test/setup.ts'],
        pool: 'forks' as const,
        fileParallelism: name === 'unit' || name === 'parity' || name === 'simulator',
      },
    })),
  },
});

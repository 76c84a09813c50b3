import { defineConfig } from 'vitest/config';

const alias = { omnicast: new URL('./src/client/index.ts', import.meta.url).pathname };

export default defineConfig({
  test: {
    projects: [
      { resolve: { alias }, test: { name: 'unit', include: ['test/unit/**/*.test.ts'] } },
      {
        resolve: { alias },
        // Each test waits for what it waits for; this is for the case that it never comes.
        test: { name: 'node', include: ['test/node/**/*.test.ts'], testTimeout: 30_000, hookTimeout: 30_000 },
      },
    ],
  },
});

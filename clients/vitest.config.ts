import { defineConfig } from 'vitest/config';

const file = (path: string) => new URL(path, import.meta.url).pathname;
// The longer names first: each also stands for what begins with it.
const alias = { 'omnicast/server': file('./src/server/index.ts'), omnicast: file('./src/client/index.ts') };

export default defineConfig({
  test: {
    projects: [
      { resolve: { alias }, test: { name: 'unit', include: ['test/unit/**/*.test.ts', 'test/server/unit/**/*.test.ts'] } },
      {
        resolve: { alias },
        // Each test waits for what it waits for; this is for the case that it never comes.
        test: { name: 'node', include: ['test/node/**/*.test.ts', 'test/server/node/**/*.test.ts'], testTimeout: 30_000, hookTimeout: 30_000 },
      },
    ],
  },
});

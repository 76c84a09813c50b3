import { defineConfig } from 'vitest/config';

const source = (path: string) => new URL(`./src/${path}`, import.meta.url).pathname;

const alias = [
  { find: /^omnicast$/, replacement: source('client/index.ts') },
  { find: /^omnicast\/tabs$/, replacement: source('tabs/index.ts') },
  { find: /^omnicast\/server$/, replacement: source('server/index.ts') },
  { find: /^omnicast\/react$/, replacement: source('react/index.ts') },
  { find: /^omnicast\/react\/(.+)$/, replacement: `${source('react/components')}/$1` },
];

// Each test waits for what it waits for; this is for the case that it never comes.
const patience = { testTimeout: 30_000, hookTimeout: 30_000 };

export default defineConfig({
  test: {
    projects: [
      { resolve: { alias }, test: { name: 'unit', include: ['test/unit/**/*.test.ts', 'test/server/unit/**/*.test.ts'] } },
      { resolve: { alias }, test: { name: 'node', include: ['test/node/**/*.test.ts', 'test/server/node/**/*.test.ts'], ...patience } },
      { resolve: { alias }, test: { name: 'react', include: ['test/react/**/*.test.tsx'], environment: 'jsdom' } },
      {
        resolve: { alias },
        test: { name: 'browser', include: ['test/browser/**/*.test.ts'], testTimeout: 120_000, hookTimeout: 120_000 },
      },
    ],
  },
});

import type { NextConfig } from 'next';

const node = process.env.OMNICAST_ORIGIN ?? 'http://127.0.0.1:3001';

const config: NextConfig = {
  // For development, and for small shops: Next.js passes on the upgrade as well. In production let the proxy in
  // front do it (docs/nextjs.md).
  rewrites: async () => [{ source: '/api/ws/:path*', destination: `${node}/api/ws/:path*` }],
};

export default config;

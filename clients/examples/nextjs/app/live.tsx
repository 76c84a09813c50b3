'use client';

import type { Credential } from 'omnicast';
import { WebSocketProvider } from 'omnicast/react';
import type { ReactNode } from 'react';

/** Called before each attempt, and again before a session ends. */
async function auth(): Promise<Credential | null> {
  const answer = await fetch('/api/token');
  if (answer.status === 401) return null;
  if (!answer.ok) throw new Error(`no token: ${answer.status}`);
  return answer.json();
}

/** One connection for the page, to `/api/ws` of its own host. */
export function Live({ children }: { children: ReactNode }) {
  return <WebSocketProvider auth={auth}>{children}</WebSocketProvider>;
}

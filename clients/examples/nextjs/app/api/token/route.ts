import { createToken } from 'omnicast/server';
import { currentUser } from '@/lib/session';

// Read when it is asked for, not when the shop is built.
export const dynamic = 'force-dynamic';

/** What the page shows the node. Without a key (WS_JWT_SECRET) the node takes the plain identity. */
export async function GET() {
  const user = await currentUser();
  if (!user) return Response.json(null, { status: 401 });
  if (process.env.WS_JWT_SECRET) return Response.json(createToken({ sub: user.id, role: user.role }));
  const { id: userId, role } = user;
  return Response.json({ userId, role, sessionId: crypto.randomUUID(), expiresAt: Date.now() + 3_600_000 });
}

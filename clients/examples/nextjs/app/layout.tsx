import 'omnicast/react/styles.css';
import type { ReactNode } from 'react';
import { Live } from './live';

export const metadata = { title: 'A small shop' };

export default function Layout({ children }: { children: ReactNode }) {
  return (
    <html lang="en">
      <body style={{ fontFamily: 'system-ui', maxWidth: '40rem', margin: '2rem auto', padding: '0 1rem' }}>
        <Live>{children}</Live>
      </body>
    </html>
  );
}

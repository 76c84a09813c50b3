'use client';

import { useRouter } from 'next/navigation';

export function OrderButton() {
  const router = useRouter();
  return (
    <button
      type="button"
      onClick={async () => {
        await fetch('/api/orders', { method: 'POST', body: JSON.stringify({ customerName: 'Grace', total: 19.9 }) });
        router.refresh();
      }}
    >
      Order a mug
    </button>
  );
}

export function AdvanceButton({ id }: { id: string }) {
  return (
    <button type="button" onClick={() => fetch(`/api/orders/${id}`, { method: 'PATCH' })}>
      Next step
    </button>
  );
}

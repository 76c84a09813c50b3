import LiveCustomerCount from 'omnicast/react/LiveCustomerCount';
import LiveSalesTicker from 'omnicast/react/LiveSalesTicker';
import OrderStatusBadge from 'omnicast/react/OrderStatusBadge';

export function Dashboard() {
  return (
    <div>
      <LiveCustomerCount showDetails />
      <LiveSalesTicker maxItems={10} />
      <OrderStatusBadge
        orderId="order_123"
        initialStatus="pending"
      />
    </div>
  );
}

import { wsEvents } from 'omnicast/server';

// Broadcast to all admins
wsEvents.systemNotification({
  title: 'System Update',
  message: 'New feature released',
  severity: 'info',
  targetRoles: ['admin', 'manager'],
});

// Broadcast to specific users
wsEvents.orderStatusChanged(
  {
    orderId: 'order_123',
    customerId: 'cust_456',
    customerName: 'John Doe',
    oldStatus: 'pending',
    newStatus: 'processing',
    timestamp: Date.now(),
  },
  { userIds: ['cust_456'] }
);

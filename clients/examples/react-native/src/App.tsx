import type { Credential } from 'omnicast';
import { useEffect, useState, useSyncExternalStore } from 'react';
import { AppState, FlatList, SafeAreaView, Text, View } from 'react-native';
import { type Order, ordersOf, startLive } from './live';

const SHOP = 'https://shop.example';

async function auth(): Promise<Credential | null> {
  const answer = await fetch(`${SHOP}/api/token`);
  if (answer.status === 401) return null;
  if (!answer.ok) throw new Error(`no token: ${answer.status}`);
  return (await answer.json()) as Credential;
}

async function load(): Promise<readonly Order[]> {
  const answer = await fetch(`${SHOP}/api/orders`);
  return (await answer.json()) as Order[];
}

type Shop = { live: ReturnType<typeof startLive>; orders: ReturnType<typeof ordersOf> };

export default function App() {
  const [shop, setShop] = useState<Shop>();
  useEffect(() => {
    const live = startLive({ shop: SHOP, auth, appState: AppState });
    setShop({ live, orders: ordersOf(live.client, load) });
    return live.stop;
  }, []);
  return <SafeAreaView>{shop ? <Orders {...shop} /> : null}</SafeAreaView>;
}

function Orders({ live, orders }: Shop) {
  const { status } = live.client;
  const { phase, fresh } = useSyncExternalStore(status.subscribe, status.getSnapshot);
  const list = useSyncExternalStore(orders.subscribe, orders.getSnapshot);
  return (
    <View>
      <Text accessibilityRole="header">{fresh ? 'Live' : phase}</Text>
      <FlatList
        data={list}
        keyExtractor={({ id }) => id}
        renderItem={({ item }) => (
          <Text>
            {item.customerName}: {item.status} ({item.total})
          </Text>
        )}
      />
    </View>
  );
}

// The node's own policy, read into rows. Everything generated follows from these rows.
import { readFileSync } from 'node:fs';

const POLICY = new URL('../../src/policy/default.json', import.meta.url);

/** What each event tells, for the documents. An event of the policy without a line here is an error. */
const SUMMARIES = {
  'order:created': 'A new order was placed.',
  'order:updated': 'Details of an order changed.',
  'order:status_changed': 'The status of an order changed.',
  'order:deleted': 'An order was deleted.',
  'customer:activity': 'A customer did something in the shop.',
  'customer:viewing_product': 'A customer is looking at a product.',
  'customer:added_to_cart': 'A customer put a product into the cart.',
  'customer:online': 'A customer came online. The node emits this itself.',
  'customer:offline': 'A customer went offline. The node emits this itself, after a grace.',
  'inventory:updated': 'The stock of a product changed.',
  'inventory:low_stock': 'The stock of a product fell to its threshold or below.',
  'inventory:out_of_stock': 'A product has run out.',
  'inventory:restocked': 'A product was restocked.',
  'product:price_changed': 'The price of a product changed.',
  'product:created': 'A new product is for sale.',
  'product:updated': 'Details of a product changed.',
  'product:deleted': 'A product was deleted.',
  'payment:received': 'A payment came in.',
  'payment:failed': 'A payment failed.',
  'payment:refunded': 'A payment was refunded.',
  'system:notification': 'A notification for people.',
  'system:alert': 'An alert for people.',
  'system:maintenance': 'Maintenance is planned or under way.',
};

/** Lists of allowed texts that have a name of their own: the event and field where one is found. */
const ENUMS = {
  OrderStatus: ['order:created', 'status'],
  CustomerAction: ['customer:activity', 'action'],
  StockChangeReason: ['inventory:updated', 'reason'],
  StockSeverity: ['inventory:low_stock', 'severity'],
  PaymentStatus: ['payment:received', 'status'],
  Severity: ['system:notification', 'severity'],
};

const KINDS = ['id', 'text', 'number', 'boolean', 'ms', 'object', 'roles'];

/** `order:status_changed` → `OrderStatusChanged`. */
function pascal(type) {
  return type.split(/[:_]/).map((word) => word[0].toUpperCase() + word.slice(1)).join('');
}

function fail(message) {
  throw new Error(`src/policy/default.json: ${message}`);
}

/**
 * Reads the catalogue.
 *
 * `events` are `{ type, name, summary, namespace, key, owner, fields }`; a field is
 * `{ name, optional, kind, values, enum }`, where `values` are the texts allowed (`kind` is `enum`).
 */
export function readCatalogue() {
  const policy = JSON.parse(readFileSync(POLICY, 'utf8'));
  const enums = Object.entries(ENUMS).map(([name, [type, field]]) => {
    const fields = policy.events[type]?.fields ?? fail(`no event ${type}`);
    const values = fields[field] ?? fields[`${field}?`] ?? fail(`no field ${field} in ${type}`);
    return { name, values };
  });
  const enumOf = (values) => enums.find((row) => row.values.join() === values.join())?.name;
  const events = Object.entries(policy.events).map(([type, row]) => {
    const namespace = policy.namespaces[row.namespace] ?? fail(`no namespace ${row.namespace}`);
    const fields = Object.entries(row.fields).map(([label, kind]) => {
      const optional = label.endsWith('?');
      const name = optional ? label.slice(0, -1) : label;
      if (Array.isArray(kind)) return { name, optional, kind: 'enum', values: kind, enum: enumOf(kind) };
      if (!KINDS.includes(kind)) fail(`unknown kind ${kind} in ${type}`);
      return { name, optional, kind };
    });
    return {
      type,
      name: pascal(type),
      summary: SUMMARIES[type] ?? fail(`${type} has no summary in clients/scripts/catalogue.mjs`),
      namespace: row.namespace,
      key: row.key ?? namespace.key,
      owner: row.owner ?? namespace.owner,
      fields,
    };
  });
  return {
    roles: policy.roles,
    namespaces: Object.keys(policy.namespaces),
    sees: policy.sees,
    publishes: policy.publishes ?? {},
    enums,
    events,
  };
}

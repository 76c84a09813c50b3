//! The shortest way through everything: a client, a post, the event.

mod support;

use support::{Client, Node, order};

#[test]
fn a_post_moves_a_screen() {
    for shards in ["1", "4"] {
        let node = Node::start(&[("WS_SHARDS", shards)]);
        let mut client = Client::live(&node, "boss", "admin", &["orders"]);
        let ids = node.post(&order("order_1", "cust_1"));
        let event = client.expect("order:created");
        assert_eq!(event["id"], ids[0].as_str());
        assert_eq!(event["namespace"], "orders");
        assert_eq!(event["data"]["total"], 129.9);
    }
}

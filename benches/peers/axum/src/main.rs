//! A broadcast server the usual way: axum, one task for each connection, one `tokio::sync::broadcast` channel.
//! `peers-axum PORT`: subscribers come to `/`, publishers to `/publish`.

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::routing::get;
use axum::serve::ListenerExt;
use futures_util::{SinkExt, StreamExt};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{Sender, channel};

/// More events than any phase has on their way: nobody lags, nothing is lost.
const EVENTS_KEPT: usize = 4096;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).expect("usage: peers-axum PORT");
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(([127, 0, 0, 1], port).into())?;
    let listener = socket.listen(4096)?.tap_io(|stream| drop(stream.set_nodelay(true)));
    let (events, _) = channel::<Utf8Bytes>(EVENTS_KEPT);
    let app = Router::new()
        .route(
            "/",
            get(|upgrade: WebSocketUpgrade, State(events): State<Sender<Utf8Bytes>>| async move {
                upgrade.on_upgrade(move |socket| subscriber(socket, events))
            }),
        )
        .route(
            "/publish",
            get(|upgrade: WebSocketUpgrade, State(events): State<Sender<Utf8Bytes>>| async move {
                upgrade.on_upgrade(move |socket| publisher(socket, events))
            }),
        )
        .with_state(events);
    axum::serve(listener, app).await
}

async fn subscriber(socket: WebSocket, events: Sender<Utf8Bytes>) {
    let mut events = events.subscribe();
    let (mut sink, mut stream) = socket.split();
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(text) => {
                    if sink.send(Message::Text(text)).await.is_err() {
                        return;
                    }
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            message = stream.next() => match message {
                Some(Ok(_)) => {}
                _ => return,
            },
        }
    }
}

async fn publisher(mut socket: WebSocket, events: Sender<Utf8Bytes>) {
    while let Some(Ok(message)) = socket.recv().await {
        if let Message::Text(text) = message {
            let _ = events.send(text); // Without a subscriber nobody gets it.
        }
    }
}

//! A TCP relay on loopback that can be cut, held and slowed: the network between two of the parties.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A relay. It ends with its last handle.
#[derive(Debug)]
pub(crate) struct Link {
    port: u16,
    state: Arc<State>,
    cut: watch::Sender<u64>,
    accepting: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    target: AtomicU16,
    /// Nothing passes and nobody is told: a half-open connection.
    held: AtomicBool,
    /// Bytes that may still pass before all connections are closed; `u64::MAX` for no end.
    budget: AtomicU64,
    /// Bytes a second in one direction; 0 for no limit.
    rate: AtomicU64,
}

impl Link {
    /// Listens on a port of its own; without a target connections are refused by closing them.
    pub(crate) async fn listen() -> Link {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let port = listener.local_addr().expect("it listens").port();
        let state = Arc::new(State { budget: AtomicU64::new(u64::MAX), ..State::default() });
        let (cut, watching) = watch::channel(0);
        let shared = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(relay(socket, Arc::clone(&shared), watching.clone()));
            }
        });
        Link { port, state, cut, accepting }
    }

    /// Where to connect.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Where connections lead from now on.
    pub(crate) fn lead_to(&self, port: u16) {
        self.state.target.store(port, Ordering::SeqCst);
    }

    /// Closes all connections.
    pub(crate) fn cut(&self) {
        self.cut.send_modify(|count| *count += 1);
    }

    /// Closes all connections after so many more bytes, wherever that is.
    pub(crate) fn cut_after(&self, bytes: u64) {
        self.state.budget.store(bytes, Ordering::SeqCst);
    }

    /// Lets nothing through, without closing anything.
    pub(crate) fn hold(&self, held: bool) {
        self.state.held.store(held, Ordering::SeqCst);
    }

    /// Lets so many bytes a second through; 0 for all.
    pub(crate) fn throttle(&self, bytes_a_second: u64) {
        self.state.rate.store(bytes_a_second, Ordering::SeqCst);
    }

    /// As a good network is.
    pub(crate) fn heal(&self) {
        self.hold(false);
        self.throttle(0);
        self.cut_after(u64::MAX);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn relay(client: TcpStream, state: Arc<State>, mut cut: watch::Receiver<u64>) {
    let target = state.target.load(Ordering::SeqCst);
    let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    cut.mark_unchanged();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::select! {
        () = pump(&mut from_client, &mut to_server, &state) => {}
        () = pump(&mut from_server, &mut to_client, &state) => {}
        _ = cut.changed() => {}
    }
}

async fn pump(from: &mut tokio::net::tcp::OwnedReadHalf, to: &mut tokio::net::tcp::OwnedWriteHalf, state: &State) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
        while state.held.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let rate = state.rate.load(Ordering::SeqCst);
        if rate > 0 {
            tokio::time::sleep(Duration::from_secs_f64(length as f64 / rate as f64)).await;
        }
        let budget = state.budget.load(Ordering::SeqCst);
        let allowed = usize::try_from(budget).unwrap_or(usize::MAX).min(length);
        if budget != u64::MAX {
            state.budget.store(budget.saturating_sub(length as u64), Ordering::SeqCst);
        }
        if to.write_all(&buffer[..allowed]).await.is_err() {
            return;
        }
        if allowed < length {
            // The cut was in the middle of what was read; the next connections are whole again.
            state.budget.store(u64::MAX, Ordering::SeqCst);
            return;
        }
    }
}

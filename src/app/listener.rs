//! One listening address: bound early, accepting within a limit, never ended by one bad connection.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::fault::{Code, Fault};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// Connections of one listener at a time. A connection that has not logged in costs some tens of KiB, and logins have a
/// time limit, so that this bounds what strangers can take.
const MAX_CONNECTIONS: usize = 2048;
/// A wait after a failed accept: with all file descriptors in use it would fail in a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A replica's machine that vanished without a word is noticed after about two minutes, also when nothing is sent.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Binds `address`. `owner` says in the error whose address it is, for example `route "shop"`.
pub(crate) fn bind(owner: &str, address: SocketAddr) -> Result<TcpListener, Fault> {
    let listen = || -> io::Result<TcpListener> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restarted proxy must not wait for the old connections' TIME_WAIT.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|error| Fault::new(Code::ListenFailed, format!("{owner} cannot listen on {address}: {error}")))
}

/// Accepts until `ending` says so or its sender is gone, then waits for the connections that are open. Each connection
/// runs in a task of its own: a panic there is logged by the panic hook and ends that connection only.
pub(crate) async fn accept_all<S, F>(listener: TcpListener, owner: String, mut ending: watch::Receiver<bool>, serve: S)
where
    S: Fn(TcpStream, SocketAddr) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let limit = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    // One line when it begins and not one for each attempt, ten times a second.
    let mut failing = false;
    loop {
        // Finished tasks are taken out as they finish, so that the set is as small as the number of open connections.
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            _ = ending.wait_for(|ending| *ending) => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => {
                failing = false;
                accepted
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(%owner, %error, "connections cannot be accepted");
                }
                failing = true;
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&limit).try_acquire_owned() else {
            tracing::warn!(%owner, %peer, limit = MAX_CONNECTIONS, "refused: too many connections");
            continue;
        };
        prepare(&socket);
        let session = serve(socket, peer);
        connections.spawn(async move {
            session.await;
            drop(permit);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Small packets go out at once, and dead peers are noticed. A socket that refuses these options still works.
fn prepare(socket: &TcpStream) {
    let _ = socket.set_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL).with_retries(4);
    let _ = SockRef::from(socket).set_tcp_keepalive(&keepalive);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_address_is_named_with_its_owner() {
        let first = bind("route \"a\"", ([127, 0, 0, 1], 0).into()).unwrap();
        let taken = bind("route \"b\"", first.local_addr().unwrap()).unwrap_err();
        assert_eq!(taken.code, Code::ListenFailed);
        assert!(taken.message.contains("route \"b\""), "{taken}");
    }

    #[tokio::test]
    async fn a_panicking_connection_leaves_the_listener_alone() {
        let listener = bind("test", ([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let (end, ending) = watch::channel(false);
        let (seen, mut accepted) = tokio::sync::mpsc::unbounded_channel();
        let task = tokio::spawn(accept_all(listener, "test".to_owned(), ending, move |_socket, peer| {
            let seen = seen.clone();
            async move {
                seen.send(peer).unwrap();
                panic!("this test's connections panic");
            }
        }));
        for _ in 0..3 {
            let client = TcpStream::connect(address).await.unwrap();
            assert_eq!(accepted.recv().await, Some(client.local_addr().unwrap()));
        }
        end.send(true).unwrap();
        tokio::time::timeout(Duration::from_secs(5), task).await.unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err(), "an ended listener still accepts");
    }
}

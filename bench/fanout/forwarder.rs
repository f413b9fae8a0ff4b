//! A plain TCP forwarder, which the proxy is compared with: one connection to the source for each replica, bytes as they are.

use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};

/// Buffer of each direction.
const BUFFER: usize = 64 << 10;

/// Forwards from one port of the loopback address to another until it is ended.
pub(crate) fn run(listen: u16, upstream: u16) {
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", listen)).await.expect("the port is free");
        loop {
            let (mut near, _) = listener.accept().await.expect("connections can be accepted");
            tokio::spawn(async move {
                let mut far = TcpStream::connect(("127.0.0.1", upstream)).await.expect("the source listens");
                for socket in [&near, &far] {
                    socket.set_nodelay(true).expect("a connected socket takes options");
                }
                // Either end may leave at any time.
                let _ = copy_bidirectional_with_sizes(&mut near, &mut far, BUFFER, BUFFER).await;
            });
        }
    });
}

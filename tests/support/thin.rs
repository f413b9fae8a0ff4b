//! A replica by file and position that reads its stream and keeps nothing but a count and a checksum of it. It stays in one file.

use std::time::{Duration, Instant};

use replproxy::binlog::EventType;
use replproxy::secret::Secret;
use replproxy::source::{Client, DumpRequest, DumpStart, Endpoint, EventStream, Identity, SourceError, TlsMode};

/// First of their server ids.
const FIRST_SERVER_ID: u32 = 90_001;
/// A replica that waits longer than this has lost something.
const PATIENCE: Duration = Duration::from_secs(240);
/// Before it connects anew.
const RETRY: Duration = Duration::from_millis(200);

/// A server or the proxy on this machine, without TLS.
pub(crate) fn endpoint(port: u16, user: &str, password: &str) -> Endpoint {
    Endpoint {
        host: "127.0.0.1".to_owned(),
        port,
        user: user.to_owned(),
        password: Secret::new(password),
        tls: TlsMode::Disabled,
        tls_ca: None,
        tls_cert: None,
        tls_key: None,
        connect_timeout: Duration::from_secs(60),
    }
}

/// One such replica.
pub(crate) struct Thin {
    port: u16,
    number: u32,
    file: Vec<u8>,
    /// After the last whole transaction.
    position: u32,
    stream: Option<EventStream>,
    /// Whole transactions that came, and a checksum over the events of all of them.
    pub(crate) transactions: usize,
    pub(crate) checksum: u32,
    /// Bytes of events of the file.
    pub(crate) bytes: u64,
    /// What came of the transaction at hand: its checksum with all before it, and its bytes.
    open: (crc32fast::Hasher, u64),
    /// How often it had to connect.
    pub(crate) connections: u32,
}

impl Thin {
    pub(crate) fn new(port: u16, number: u32, (file, position): (String, u64)) -> Self {
        let open = (crc32fast::Hasher::new(), 0);
        Self {
            port,
            number,
            file: file.into_bytes(),
            position: position as u32,
            stream: None,
            transactions: 0,
            checksum: 0,
            bytes: 0,
            open,
            connections: 0,
        }
    }

    /// Its server id.
    pub(crate) fn server_id(number: u32) -> u32 {
        FIRST_SERVER_ID + number
    }

    /// Leaves. It comes back with the next call.
    pub(crate) fn leave(&mut self) {
        self.stream = None;
    }

    /// Logs in and waits for the first event of the file, if there is no stream.
    pub(crate) async fn attach(&mut self) {
        if self.stream.is_some() {
            return;
        }
        let limit = Instant::now() + PATIENCE;
        loop {
            match self.connect().await {
                Ok(stream) => {
                    self.open = (crc32fast::Hasher::new_with_initial(self.checksum), 0);
                    self.connections += 1;
                    self.stream = Some(stream);
                    return;
                }
                Err(error) => assert!(Instant::now() < limit, "replica {}: {error}", self.number),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn connect(&mut self) -> Result<EventStream, SourceError> {
        let client = Client::connect(&endpoint(self.port, "repl", "secret")).await?;
        let uuid = uuid::Uuid::from_u128(0x5000 + u128::from(self.number));
        let identity = Identity { server_id: Self::server_id(self.number), uuid, host: "bench".to_owned(), port: 0 };
        let start = DumpStart::FilePosition { file: self.file.clone(), position: self.position };
        let request = DumpRequest { identity, heartbeat: Duration::ZERO, flags: 0, start, session: Vec::new() };
        let mut stream = client.start_dump(request).await?;
        // A made-up ROTATE and FORMAT_DESCRIPTION come before what was asked for.
        while let Some(event) = stream.next().await? {
            if EventType(event[4]) == EventType::FORMAT_DESCRIPTION {
                break;
            }
        }
        Ok(stream)
    }

    /// The next event. True when it ends a transaction.
    pub(crate) async fn receive(&mut self) -> bool {
        self.attach().await;
        let Some(stream) = &mut self.stream else { return false };
        let event = match tokio::time::timeout(PATIENCE, stream.next()).await {
            Ok(Ok(Some(event))) => event,
            Ok(_) => {
                self.stream = None;
                return false;
            }
            Err(_) => panic!("replica {} waits since {} transactions", self.number, self.transactions),
        };
        let event_type = EventType(event[4]);
        let is_of_file = !matches!(
            event_type,
            EventType::HEARTBEAT | EventType::HEARTBEAT_V2 | EventType::ROTATE | EventType::FORMAT_DESCRIPTION
        );
        if is_of_file {
            self.open.0.update(&event);
            self.open.1 += event.len() as u64;
        }
        if event_type != EventType::XID {
            return false;
        }
        self.transactions += 1;
        self.bytes += std::mem::take(&mut self.open.1);
        self.checksum = self.open.0.clone().finalize();
        self.position = u32::from_le_bytes([event[13], event[14], event[15], event[16]]);
        true
    }

    /// Reads until so many transactions have come in all.
    pub(crate) async fn reach(&mut self, transactions: usize) {
        while self.transactions < transactions {
            self.receive().await;
        }
    }
}

//! The door: greeting, TLS and login of one client, on the socket itself, within limits and a deadline.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::ListenerConfig;
use super::answers::Asker;
use super::auth::{Plugin, certificate_proof, new_challenge};
use super::compression::Compressed;
use super::fault_packet::{LONG_ERROR_TEXT, error_text};
use super::handshake::{
    FAST_AUTH_SUCCESS, HandshakeResponse, SSL_REQUEST_LENGTH, auth_switch, capabilities, capability, err_packet,
    greeted_version, greeting, ok_packet,
};
use super::outlook::Outlook;
use super::packets::{PacketStream, ReadError};
use super::tls::ClientStream;
use crate::binlog::{ServerVersion, Vendor};
use crate::fault::{Code, Fault};
use crate::telemetry::Escaped;

/// A client that has proved who it is.
#[derive(Debug)]
pub(crate) struct Visitor<S> {
    pub(crate) packets: PacketStream<ClientStream<S>>,
    pub(crate) asker: Asker,
    /// The version of the server (or program) that logged in, where it says.
    pub(crate) version: Option<ServerVersion>,
    /// The program that logged in.
    pub(crate) program: Option<String>,
    pub(crate) tls: bool,
}

/// Error numbers of the connection phase.
mod server_error {
    pub(super) const UNKNOWN: u16 = 1105;
    pub(super) const ACCESS_DENIED: u16 = 1045;
    pub(super) const BAD_HANDSHAKE: u16 = 1043;
    pub(super) const OLD_AUTHENTICATION: u16 = 1251;
    pub(super) const SECURE_TRANSPORT_REQUIRED: u16 = 3159;
    pub(super) const PACKET_TOO_LARGE: u16 = 1153;
    pub(super) const PACKETS_OUT_OF_ORDER: u16 = 1156;
    /// `CR_CONN_HOST_ERROR`, with which a replica's own library says that nobody answers: what waits for it in `Last_IO_Errno`, or
    /// acts upon it, finds it behind the proxy too.
    pub(super) const CANNOT_CONNECT: u16 = 2003;
}

/// A refusal: what goes to the client and what goes to the log.
struct Refusal {
    error: u16,
    state: &'static [u8; 5],
    text: String,
    fault: Fault,
}

impl Refusal {
    fn new(error: u16, state: &'static [u8; 5], text: impl Into<String>, code: Code) -> Self {
        let found = text.into();
        let text = format!("{found} ({code}, next: {})", code.next_step());
        Self { error, state, fault: Fault::new(code, found), text }
    }
}

/// Ends a login: with or without a packet to the client.
enum Failure {
    Refused(Refusal),
    Broken(Fault),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        let code = Code::ReplicaProtocol;
        match error {
            ReadError::Closed | ReadError::Io(_) => Self::Broken(Fault::new(code, error.to_string())),
            ReadError::OutOfSequence { .. } => {
                Refusal::new(server_error::PACKETS_OUT_OF_ORDER, b"08S01", "Got packets out of order", code).into()
            }
            ReadError::TooLong { .. } => {
                let text = format!("Got a packet bigger than is allowed in a login: {error}");
                Refusal::new(server_error::PACKET_TOO_LARGE, b"08S01", text, code).into()
            }
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        ReadError::Io(error).into()
    }
}

/// Greets a client and lets it in, or says why not. The fault has been logged and the client told.
pub(crate) async fn let_in<S: AsyncRead + AsyncWrite + Unpin>(
    socket: S,
    peer: SocketAddr,
    thread_id: u32,
    outlook: &Outlook,
    config: &ListenerConfig,
) -> Result<Visitor<S>, Fault> {
    let mut packets = Some(PacketStream::new(ClientStream::Plain(socket)));
    let login = log_in(&mut packets, peer, thread_id, outlook, config);
    let outcome = match tokio::time::timeout(config.limits.login_timeout, login).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::Broken(Fault::new(
            Code::ReplicaProtocol,
            format!("no login within {:?}", config.limits.login_timeout),
        ))),
    };
    match (outcome, packets) {
        (Ok(login), Some(packets)) => Ok(Visitor {
            packets,
            asker: Asker { thread_id, user: login.user, host: peer.ip().to_string(), ..Asker::default() },
            version: login.version,
            program: login.program,
            tls: login.tls,
        }),
        (Err(Failure::Refused(refusal)), Some(mut packets)) => {
            // That the source is out of reach is said once for all who come.
            if outlook.trouble.as_ref().is_none_or(|trouble| trouble.fault != refusal.fault) {
                warn!(
                    listener = %config.name, %peer, code = %refusal.fault.code, error = %Escaped(&refusal.text),
                    "login refused"
                );
            }
            let packet = err_packet(refusal.error, Some(refusal.state), &refusal.text);
            // The client may be gone, or busy sending: then it learns by the end of the connection.
            let _ = tokio::time::timeout(config.limits.login_timeout, packets.write(&packet)).await;
            Err(refusal.fault)
        }
        (Err(Failure::Refused(Refusal { fault, .. }) | Failure::Broken(fault)), _) => {
            debug!(listener = %config.name, %peer, code = %fault.code, error = %fault.message, "login ended");
            Err(fault)
        }
        (Ok(_), None) => Err(Fault::new(Code::Internal, "a login without a connection")),
    }
}

struct Login {
    user: String,
    version: Option<ServerVersion>,
    program: Option<String>,
    tls: bool,
}

/// The dialogue. `connection` is empty only while TLS is being set up.
async fn log_in<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Option<PacketStream<ClientStream<S>>>,
    peer: SocketAddr,
    thread_id: u32,
    outlook: &Outlook,
    config: &ListenerConfig,
) -> Result<Login, Failure> {
    let closed = || Failure::from(ReadError::Closed);
    let mut challenge = new_challenge();
    let offers_tls = config.tls.config().is_some();
    let packets = connection.as_mut().ok_or_else(closed)?;
    let greeted = greeted_version(&outlook.facts.version);
    packets.write(&greeting(&greeted, thread_id, &challenge, offers_tls)).await?;
    let mut packet = packets.read(config.limits.login_packet).await?;

    let wants_tls = packet.len() == SSL_REQUEST_LENGTH && capabilities(&packet).is_ok_and(|c| c & capability::SSL != 0);
    if let (true, Some(tls)) = (wants_tls, config.tls.config()) {
        let plain = connection.take().ok_or_else(closed)?;
        let secured = secure(plain, TlsAcceptor::from(tls.clone())).await?;
        packet = connection.insert(secured).read(config.limits.login_packet).await?;
    } else if config.tls.is_required() {
        let text = "Connections using insecure transport are prohibited: this route has tls = \"required\"";
        return Err(Refusal::new(server_error::SECURE_TRANSPORT_REQUIRED, b"HY000", text, Code::ReplicaTls).into());
    }
    let packets = connection.as_mut().ok_or_else(closed)?;
    let response = HandshakeResponse::read(&packet).map_err(|error| {
        let number = match error {
            super::handshake::HandshakeError::TooOld => server_error::OLD_AUTHENTICATION,
            super::handshake::HandshakeError::Truncated(_) => server_error::BAD_HANDSHAKE,
        };
        Refusal::new(number, b"08S01", format!("Bad handshake: {error}"), Code::ReplicaProtocol)
    })?;

    let password = config.password.expose().as_bytes();
    let (mut plugin, mut proof) = (Plugin::Native, response.auth.clone());
    let named = response.plugin.as_deref().unwrap_or(Plugin::Native.name().as_bytes());
    // A client without plugins has sent all it can. Another plugin's answer, or none to our challenge, is asked for again: some
    // clients keep back what they computed for a plugin that they do not prefer.
    let other_plugin = named != Plugin::Native.name().as_bytes();
    if response.plugin.is_some() && (other_plugin || proof.is_empty() && !password.is_empty()) {
        plugin = Plugin::for_client(named);
        challenge = new_challenge();
        packets.write(&auth_switch(plugin, &challenge)).await?;
        proof = packets.read(config.limits.login_packet).await?;
    }
    // Both are always computed, so that an unknown user takes as long as a wrong password.
    let proved = plugin.proves(password, &challenge, &proof);
    let known = bool::from(subtle::ConstantTimeEq::ct_eq(&response.user[..], config.user.as_bytes()));
    let user = String::from_utf8_lossy(&response.user).into_owned();
    if !(known && proved) {
        let using = if matches!(proof[..], [] | [0]) { "NO" } else { "YES" };
        let shown: String = user.chars().filter(|character| !character.is_control()).take(80).collect();
        let text = format!("Access denied for user '{shown}'@'{}' (using password: {using})", peer.ip());
        return Err(Refusal::new(server_error::ACCESS_DENIED, b"28000", text, Code::ReplicaRefusedLogin).into());
    }
    if let Some(fault) = outlook.refuses(&response) {
        let text = error_text(fault, LONG_ERROR_TEXT);
        let error = match fault.code {
            Code::SourceUnreachable => server_error::CANNOT_CONNECT,
            _ => server_error::UNKNOWN,
        };
        return Err(Refusal { error, state: b"HY000", text, fault: fault.clone() }.into());
    }
    if plugin == Plugin::CachingSha2 && !password.is_empty() {
        packets.write(&FAST_AUTH_SUCCESS).await?;
    }
    let version = response.version();
    let tls = matches!(packets.stream_mut(), ClientStream::Tls(_));
    let wants_proof = tls
        && plugin == Plugin::Native
        && !password.is_empty()
        && version.as_ref().is_some_and(|version| version.vendor == Vendor::MariaDb);
    let info = if wants_proof { certificate_proof(password, &challenge, config.tls.certificate()) } else { Vec::new() };
    packets.write(&ok_packet(&info)).await?;
    if let Some(compression) = response.compression {
        let (stream, sequence) = connection.take().ok_or_else(closed)?.into_parts();
        let compressed = ClientStream::Compressed(Box::new(Compressed::new(stream, compression)));
        *connection = Some(PacketStream::continued(compressed, sequence));
    }
    let attribute = |name: &str| response.attributes.get(name).cloned();
    Ok(Login { user, version, program: attribute("program_name"), tls })
}

async fn secure<S: AsyncRead + AsyncWrite + Unpin>(
    plain: PacketStream<ClientStream<S>>,
    acceptor: TlsAcceptor,
) -> Result<PacketStream<ClientStream<S>>, Failure> {
    let (stream, sequence) = plain.into_parts();
    let ClientStream::Plain(socket) = stream else {
        return Err(Failure::Broken(Fault::new(Code::ReplicaProtocol, "TLS asked for inside TLS")));
    };
    let secured = acceptor
        .accept(socket)
        .await
        .map_err(|error| Failure::Broken(Fault::new(Code::ReplicaTls, format!("TLS handshake: {error}"))))?;
    Ok(PacketStream::continued(ClientStream::Tls(Box::new(secured)), sequence))
}

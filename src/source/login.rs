//! From the greeting to the command phase: TLS and the authentication plugins.

use mysql_common::auth::plugins::{
    ChallengeResponsePlugin, Context,
    caching_sha2_password::scramble_sha256,
    client_ed25519::{ClientEd25519, NONCE_BYTES},
    mysql_native_password::scramble_native,
};

use super::{
    Activity, Endpoint, SourceError, TlsMode,
    connection::Connection,
    greeting::{Greeting, NONCE_LENGTH, capability},
    rsa_key,
};
use crate::{secret::Secret, wire::Cursor};

/// A login has a switch or two and a key at most; whoever asks for more is not a server.
const MAX_ROUNDS: usize = 12;

const OK: u8 = 0x00;
const MORE_DATA: u8 = 0x01;
const AUTH_SWITCH: u8 = 0xfe;
const ERR: u8 = 0xff;

/// What we can prove a password with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plugin {
    Native,
    CachingSha2,
    Sha256,
    Ed25519,
}

impl Plugin {
    const ALL: [Plugin; 4] = [Self::Native, Self::CachingSha2, Self::Sha256, Self::Ed25519];

    fn name(self) -> &'static str {
        match self {
            Self::Native => "mysql_native_password",
            Self::CachingSha2 => "caching_sha2_password",
            Self::Sha256 => "sha256_password",
            Self::Ed25519 => "client_ed25519",
        }
    }

    fn of(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|plugin| plugin.name().as_bytes() == name)
    }
}

/// One proof in the making: a plugin, its nonce, and what protects the wire.
struct Exchange<'a> {
    plugin: Plugin,
    nonce: Vec<u8>,
    password: &'a Secret,
    secure: bool,
}

impl Exchange<'_> {
    /// The first words of the plugin.
    fn begin(&self) -> Result<Vec<u8>, String> {
        let password = self.password.expose().as_bytes();
        let nonce = || {
            <&[u8; NONCE_LENGTH]>::try_from(self.nonce.as_slice())
                .map_err(|_| format!("{} with a nonce of {} bytes", self.plugin.name(), self.nonce.len()))
        };
        match self.plugin {
            Plugin::Native => Ok(scramble_native(nonce()?, password).map_or_else(Vec::new, Vec::from)),
            Plugin::CachingSha2 => Ok(scramble_sha256(nonce()?, password).map_or_else(Vec::new, Vec::from)),
            Plugin::Sha256 if self.password.is_empty() => Ok(vec![0]),
            Plugin::Sha256 if self.secure => Ok(self.clear()),
            // Asks for the server's key.
            Plugin::Sha256 => Ok(vec![1]),
            Plugin::Ed25519 => sign(password, &self.nonce),
        }
    }

    /// The answer to what the server's side of the plugin says next, if it takes one.
    fn go_on(&self, data: &[u8]) -> Result<Option<Vec<u8>>, String> {
        const FAST_PATH_DONE: &[u8] = &[3];
        const FULL_PATH: &[u8] = &[4];
        match (self.plugin, data) {
            (Plugin::CachingSha2, FAST_PATH_DONE) => Ok(None),
            (Plugin::CachingSha2, FULL_PATH) if self.secure => Ok(Some(self.clear())),
            // Asks for the server's key.
            (Plugin::CachingSha2, FULL_PATH) => Ok(Some(vec![2])),
            // The key that we asked for. Over TLS none is asked for, so none is taken.
            (Plugin::CachingSha2 | Plugin::Sha256, [b'-', ..]) if !self.secure => {
                rsa_key::encrypt_password(self.password.expose(), &self.nonce, data)
                    .map(Some)
                    .map_err(|error| error.to_string())
            }
            _ => Err(format!("{} went on with {} bytes that it does not have", self.plugin.name(), data.len())),
        }
    }

    /// The password in the clear, for a protected wire only.
    fn clear(&self) -> Vec<u8> {
        self.password.expose().bytes().chain([0]).collect()
    }
}

/// MariaDB's signature of the nonce with a key derived from the password.
fn sign(password: &[u8], nonce: &[u8]) -> Result<Vec<u8>, String> {
    struct PasswordOnly<'a>(&'a [u8]);
    impl Context for PasswordOnly<'_> {
        fn pass(&self) -> &[u8] {
            self.0
        }
        fn is_ipc_transport(&self) -> bool {
            false
        }
        fn is_tls_transport(&self) -> bool {
            false
        }
        fn scramble(&self) -> &[u8] {
            &[]
        }
        fn server_key_pem(&self) -> Option<&[u8]> {
            None
        }
    }
    let response = ClientEd25519::default().run(PasswordOnly(password), nonce);
    let signature = response.map_err(|_| format!("client_ed25519 with a nonce of {} bytes", nonce.len()))?;
    Ok(signature.data().unwrap_or_default().to_vec())
}

/// Greeting, TLS as the endpoint asks for it, authentication. The connection is in the command phase after it.
pub(super) async fn log_in(
    mut connection: Connection,
    endpoint: &Endpoint,
) -> Result<(Connection, Greeting), SourceError> {
    let first = connection.receive().await?;
    if first.first() == Some(&ERR) {
        return Err(connection.refused(&first, Activity::Login));
    }
    let greeting = Greeting::parse(&first)
        .map_err(|error| SourceError::Version { peer: connection.peer.clone(), reason: error.to_string() })?;
    let offers_tls = greeting.capabilities & capability::SSL != 0;
    match endpoint.tls {
        TlsMode::Disabled => {}
        TlsMode::Preferred if !offers_tls => {}
        _ if !offers_tls => {
            let reason = "the server offers none; give it a certificate, or set tls = \"preferred\" or \"disabled\"";
            return Err(SourceError::Tls { peer: connection.peer.clone(), reason: reason.to_owned() });
        }
        _ => {
            connection.answer(&greeting.answer_head(true)).await?;
            connection = connection.secure(endpoint).await?;
        }
    }
    authenticate(&mut connection, &greeting, endpoint).await?;
    Ok((connection, greeting))
}

async fn authenticate(
    connection: &mut Connection,
    greeting: &Greeting,
    endpoint: &Endpoint,
) -> Result<(), SourceError> {
    let peer = connection.peer.clone();
    let failed = |reason: String| SourceError::Authentication { peer: peer.clone(), reason };
    let secure = connection.secure;
    let exchange =
        |plugin: Plugin, nonce: &[u8]| Exchange { plugin, nonce: nonce.to_vec(), password: &endpoint.password, secure };
    // The greeting names the server's default plugin; the account's own comes with a switch. Where we do not know the
    // default, a native proof is as good as any: the server asks for what it wants.
    let named = greeting.plugin.as_deref().and_then(Plugin::of).filter(|&plugin| plugin != Plugin::Ed25519);
    let mut current = exchange(named.unwrap_or(Plugin::Native), &greeting.nonce);
    if endpoint.user.contains('\0') {
        return Err(failed("the user's name has a NUL byte".to_owned()));
    }
    let proof = current.begin().map_err(failed)?;
    let answer = greeting.answer(secure, &endpoint.user, current.plugin.name(), &proof, &attributes());
    connection.answer(&answer).await?;
    for _ in 0..MAX_ROUNDS {
        let packet = connection.receive().await?;
        let answer = match packet.split_first() {
            Some((&OK, _)) => return Ok(()),
            Some((&ERR, _)) => return Err(connection.refused(&packet, Activity::Login)),
            Some((&AUTH_SWITCH, request)) => {
                let (plugin, nonce) = auth_switch(request).map_err(failed)?;
                current = exchange(plugin, nonce);
                Some(current.begin().map_err(failed)?)
            }
            Some((&MORE_DATA, data)) => current.go_on(data).map_err(failed)?,
            _ => return Err(connection.protocol("a packet that does not belong into a login")),
        };
        if let Some(answer) = answer {
            connection.answer(&answer).await?;
        }
    }
    Err(connection.protocol("the login does not come to an end"))
}

/// `plugin NUL | nonce [NUL]`; nothing at all is the request of servers before 5.5 for a password of 4.0.
fn auth_switch(request: &[u8]) -> Result<(Plugin, &[u8]), String> {
    const OLD: &[u8] = b"mysql_old_password";
    let mut cursor = Cursor::new(request);
    let name = if request.is_empty() { OLD } else { cursor.until_nul().unwrap_or(request) };
    if name == OLD {
        return Err(
            "the account has a password of MySQL 4.0 (mysql_old_password), which anybody who listens can use; \
                    set it anew with old_passwords=0"
                .to_owned(),
        );
    }
    let Some(plugin) = Plugin::of(name) else {
        let known = Plugin::ALL.map(Plugin::name).join(", ");
        let name: String = String::from_utf8_lossy(name).chars().filter(|c| !c.is_control()).take(60).collect();
        return Err(format!("the account wants the plugin `{name}`; the proxy knows {known}"));
    };
    let length = if plugin == Plugin::Ed25519 { NONCE_BYTES } else { NONCE_LENGTH };
    match cursor.rest() {
        [nonce @ .., 0] if nonce.len() == length => Ok((plugin, nonce)),
        nonce => Ok((plugin, nonce)),
    }
}

/// What the server shows of us in `performance_schema.session_connect_attrs`.
fn attributes() -> [(&'static str, String); 6] {
    [
        ("program_name", "replproxy".to_owned()),
        ("_client_name", "replproxy".to_owned()),
        ("_client_version", env!("CARGO_PKG_VERSION").to_owned()),
        ("_client_role", "binary_log_listener".to_owned()),
        ("_os", std::env::consts::OS.to_owned()),
        ("_platform", std::env::consts::ARCH.to_owned()),
    ]
}

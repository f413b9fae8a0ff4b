//! Child processes that never outlive the test: killed when dropped, and by a guardian when the test itself is killed.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A running program with its output in a file.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    guardian: Child,
    output: PathBuf,
}

impl Process {
    /// Starts the program; standard output and error are appended to `output`, standard input is empty.
    pub(crate) fn spawn(command: &mut Command, output: &Path) -> Result<Process, String> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(output)
            .map_err(|error| format!("cannot write {output:?}: {error}"))?;
        let second = file.try_clone().map_err(|error| format!("cannot write {output:?}: {error}"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(second)
            .spawn()
            .map_err(|error| format!("cannot run {command:?}: {error}"))?;
        // The guardian's input is a pipe from this process: it reads to the end when this process is gone, however
        // that came about, and takes the program along.
        let guardian = Command::new("sh")
            .args(["-c", "cat >/dev/null; kill -KILL \"$1\" 2>/dev/null", "guardian", &child.id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot run sh: {error}"))?;
        Ok(Process { child, guardian, output: output.to_owned() })
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What the program has written so far.
    pub(crate) fn output(&self) -> String {
        read(&self.output)
    }

    /// Waits until something listens at all of these ports, as long as it runs.
    pub(crate) fn listens_at(&mut self, ports: &[u16]) {
        let limit = Instant::now() + Duration::from_secs(60);
        while !ports.iter().all(|&port| listens(port)) {
            assert!(Instant::now() < limit && !self.has_ended(), "nothing listens at {ports:?}:\n{}", self.output());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.status().is_some()
    }

    /// How it ended, if it has.
    pub(crate) fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends a signal by its name (`TERM`, `STOP`, `CONT`, …).
    pub(crate) fn signal(&self, name: &str) {
        let _ = Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()).status();
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Waits for its end at most so long.
    pub(crate) fn ends_within(&mut self, time: Duration) -> bool {
        let limit = Instant::now() + time;
        while !self.has_ended() {
            if Instant::now() > limit {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The guardian goes first: afterwards the process id may belong to somebody else.
        let _ = self.guardian.kill();
        let _ = self.guardian.wait();
        self.kill();
    }
}

/// A port of the loopback address that nobody listens at and that nobody else in this process was given. It is below those that
/// the kernel gives to outgoing connections: one of these could sit on the port of a server or proxy while it restarts.
pub(crate) fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 22_000;
    static NEXT: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(std::process::id().wrapping_mul(7919)));
    (0..COUNT)
        .filter_map(|_| u16::try_from(FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT).ok())
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        .expect("the loopback address has free ports")
}

/// Whether a server greets at the port: a packet with number 0 and the handshake's version 10.
pub(crate) fn greets(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) else { return false };
    let mut start = [0; 5];
    let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
    stream.read_exact(&mut start).is_ok() && start[3] == 0 && start[4] == 10
}

/// Whether anything listens at the port.
pub(crate) fn listens(port: u16) -> bool {
    TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), Duration::from_millis(200)).is_ok()
}

/// A file's text, as far as it is text; nothing when it cannot be read.
pub(crate) fn read(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// The last few kilobytes of a log, for a failure's message.
pub(crate) fn end_of(path: &Path) -> String {
    let mut text = Vec::new();
    if let Ok(mut file) = File::open(path) {
        let length = file.metadata().map_or(0, |data| data.len());
        let _ = file.seek(SeekFrom::Start(length.saturating_sub(4096)));
        let _ = file.read_to_end(&mut text);
    }
    format!("{}:\n{}", path.display(), String::from_utf8_lossy(&text))
}

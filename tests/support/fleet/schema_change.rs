//! pt-online-schema-change, from Debian's percona-toolkit with a Perl of its own.

use super::{Unavailable, debian, folder};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// How to run it.
#[derive(Clone, Debug)]
pub(crate) struct SchemaChanger {
    root: PathBuf,
}

/// Fetches the tool unless it is there already.
pub(crate) fn obtain() -> Result<SchemaChanger, Unavailable> {
    let folder = folder();
    fs::create_dir_all(&folder).map_err(|error| format!("cannot create {folder:?}: {error}"))?;
    let lock = File::create(folder.join("lock.percona-toolkit"))
        .and_then(|file| file.lock().map(|()| file))
        .map_err(|error| format!("cannot lock the fleet's folder: {error}"))?;
    let root = folder.join("percona-toolkit");
    debian::unpack("bookworm", &["percona-toolkit"], &root)?;
    drop(lock);
    Ok(SchemaChanger { root })
}

impl SchemaChanger {
    /// The program without arguments.
    pub(crate) fn command(&self) -> Command {
        let libraries = format!("{}-linux-gnu", std::env::consts::ARCH);
        let search = [self.root.join("usr/lib").join(&libraries), self.root.join("lib").join(&libraries)];
        let loader = search
            .iter()
            .flat_map(|folder| ["ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"].map(|name| folder.join(name)))
            .find(|loader| loader.exists())
            .unwrap_or_else(|| search[0].join("ld-linux-x86-64.so.2"));
        // Perl's own modules and those of its packages, of whichever version Debian has.
        let mut modules = vec![self.root.join("usr/share/perl5"), search[0].join("perl-base")];
        for parent in [search[0].join("perl5"), search[0].join("perl"), self.root.join("usr/share/perl")] {
            modules.extend(versions(&parent));
        }
        let joined =
            |paths: &[PathBuf]| paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(":");
        let mut command = Command::new(loader);
        command.arg("--library-path").arg(joined(&search)).arg(self.root.join("usr/bin/perl"));
        command.arg(self.root.join("usr/bin/pt-online-schema-change"));
        command.env("PERL5LIB", joined(&modules)).env("PERL_BADLANG", "0");
        command
    }
}

/// The subfolders that are named after a version.
fn versions(parent: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.is_dir() && !path.is_symlink()).collect()
}

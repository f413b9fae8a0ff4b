//! Debian packages, unpacked without being installed: a private apt root whose only source is the mirror that the
//! machine's own apt is configured with, at the suite that is asked for.

use super::{Unavailable, build, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Unpacks the packages, and all that they depend on, into `target` unless it exists.
pub(super) fn unpack(suite: &str, packages: &[&str], target: &Path) -> Result<(), Unavailable> {
    build(target, |content| {
        eprintln!("fleet: fetching {} of Debian {suite}", packages.join(", "));
        let apt = PrivateRoot::new(suite)?;
        run(apt.get().arg("update"))?;
        run(apt.get().args(["--yes", "--download-only", "install"]).args(packages))?;
        for package in files(&apt.path().join("cache/archives"))? {
            if package.extension().is_some_and(|extension| extension == "deb") {
                run(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(content))?;
            }
        }
        Ok(())
    })
}

/// A folder inside `root` with links to the libraries whose names begin as given, and to nothing else.
pub(super) fn only(root: &Path, names: &[&str]) -> Result<PathBuf, Unavailable> {
    let target = root.join("only");
    build(&target, |content| {
        let libraries = format!("{}-linux-gnu", std::env::consts::ARCH);
        for folder in ["usr/lib", "lib"].map(|part| root.join(part).join(&libraries)) {
            for file in files(&folder).unwrap_or_default() {
                let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if names.iter().any(|wanted| name.starts_with(&format!("{wanted}.so"))) {
                    fs::copy(&file, content.join(&name)).map_err(|error| format!("cannot copy {file:?}: {error}"))?;
                }
            }
        }
        Ok(())
    })?;
    Ok(target)
}

struct PrivateRoot {
    folder: tempfile::TempDir,
    source_list: String,
}

impl PrivateRoot {
    fn new(suite: &str) -> Result<PrivateRoot, Unavailable> {
        let folder = tempfile::tempdir_in(super::folder())
            .map_err(|error| format!("cannot create a folder for apt: {error}"))?;
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.path().join(part)).map_err(|error| format!("cannot create {part}: {error}"))?;
        }
        let source_list = format!("deb {} {suite} main\n", mirror()?);
        fs::write(folder.path().join("sources.list"), &source_list)
            .map_err(|error| format!("cannot write sources.list: {error}"))?;
        // An empty status file: apt knows of no installed package, so it fetches every dependency.
        fs::write(folder.path().join("status"), "").map_err(|error| format!("cannot write status: {error}"))?;
        Ok(PrivateRoot { folder, source_list })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn get(&self) -> Command {
        debug_assert!(self.source_list.starts_with("deb "));
        let root = self.path().display();
        let mut command = Command::new("apt-get");
        for option in [
            format!("Dir::Etc::sourcelist={root}/sources.list"),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            "Dir::Etc::preferences=/dev/null".to_owned(),
            "Dir::Etc::preferencesparts=/dev/null".to_owned(),
            format!("Dir::State={root}"),
            format!("Dir::State::lists={root}/lists"),
            format!("Dir::State::status={root}/status"),
            format!("Dir::Cache={root}/cache"),
            "APT::Install-Recommends=false".to_owned(),
            "APT::Sandbox::User=".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=3".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        command
    }
}

/// The address of the archive that this machine uses. apt itself reads its configuration, in whichever form it is.
fn mirror() -> Result<String, Unavailable> {
    let listing = run(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI) $(RELEASE) $(COMPONENT)",
        "Created-By: Packages",
    ]))?;
    listing
        .lines()
        .filter_map(|line| {
            let [address, release, component] = line.split_whitespace().collect::<Vec<_>>()[..] else { return None };
            let whole_release = !["-security", "-updates", "-backports"].iter().any(|part| release.contains(part));
            (whole_release && component == "main").then(|| address.to_owned())
        })
        // Third parties' archives can have a component of that name too; Debian's ends in its own name on every mirror.
        .max_by_key(|address| address.trim_end_matches('/').ends_with("/debian"))
        .ok_or_else(|| "this machine's apt has no Debian archive configured".to_owned())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Unavailable> {
    let entries = fs::read_dir(folder).map_err(|error| format!("cannot read {folder:?}: {error}"))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    Ok(files)
}

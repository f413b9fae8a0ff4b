//! Real binlog files that nobody here wrote, read in place. Without the folder the tests say so and pass.

use std::path::{Path, PathBuf};

/// The folder of real binlog files: `REPLPROXY_CORPUS`, else `../shared/corpus` beside the checkout.
pub(crate) fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("REPLPROXY_CORPUS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus"), PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("SKIPPED: no corpus of real binlog files at {} (set REPLPROXY_CORPUS)", folder.display());
    None
}

/// Binlog files of one part of the corpus (`""`, `"hostile"`, `"reassembled"`), by name.
pub(crate) fn binlogs(part: &str) -> Vec<(String, Vec<u8>)> {
    let Some(folder) = folder() else { return Vec::new() };
    let folder = folder.join("binlogs").join(part);
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(&folder)
        .expect("the corpus has this folder")
        .map(|entry| entry.expect("an entry of the corpus").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "binlog"))
        .map(|path| {
            let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
            (name, std::fs::read(&path).expect("a corpus file can be read"))
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no binlog files in {}", folder.display());
    files
}

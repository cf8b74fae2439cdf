//! Keeps the log files of a world from filling the disk. Whoever writes one holds it open and appends, so a file that has grown
//! too long is copied aside and emptied in place: what is written between the two is lost, which a workbench can bear.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;
use std::time::Duration;

/// A log that has this many bytes is put aside as `NAME.log.1`, over the one before: each takes twice as many at most, and
/// what one look may find on top.
const LOG_BYTES_MAX: u64 = 16 << 20;

/// Between two looks at the sizes: a process that writes 100 MB/s, as fast as lines are written at all, leaves 1 GB at most.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// Looks until it is dropped.
pub(crate) async fn keep_small(folder: std::path::PathBuf) {
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        if let Err(error) = put_aside(&folder, LOG_BYTES_MAX) {
            tracing::warn!(folder = %folder.display(), %error, "a log cannot be put aside and grows on");
        }
    }
}

/// Puts aside every log of `folder` that is longer than `bytes_max`.
fn put_aside(folder: &Path, bytes_max: u64) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_log = path.extension().is_some_and(|extension| extension == "log");
        if is_log && fs::metadata(&path)?.len() > bytes_max {
            fs::copy(&path, path.with_extension("log.1"))?;
            OpenOptions::new().write(true).open(&path)?.set_len(0)?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "logs_tests.rs"]
mod tests;

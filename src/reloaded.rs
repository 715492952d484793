//! Settings that follow their files while the broker runs: when a file changes, its settings are made again.

use std::fmt::{self, Debug, Display};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::files::FileError;

/// The interval at which the files are read. Reading them is simple and its cost is too small to measure. A
/// notification would have to understand how Kubernetes swaps the folder behind a symbolic link.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Files from which settings are made.
pub trait Files: Display + Send + Sync + 'static {
    /// The contents of the files.
    type Content: PartialEq + Send + Sync;
    /// The settings made of the contents.
    type Made: Send + Sync + 'static;

    /// Reads the files.
    ///
    /// # Errors
    /// If one cannot be read.
    fn read(&self) -> Result<Self::Content, FileError>;

    /// Makes the settings from the contents.
    ///
    /// # Errors
    /// If the contents are wrong.
    fn make(&self, content: &Self::Content) -> Result<Self::Made, FileError>;
}

/// Settings made of files, as the files are now. Clones share them.
pub struct Reloaded<T>(watch::Receiver<Arc<T>>);

impl<T: Send + Sync + 'static> Reloaded<T> {
    /// Makes the settings, and makes them again whenever the files change, until the last clone is gone. If the files
    /// are wrong then, that is logged and the last good settings stay.
    ///
    /// # Errors
    /// If the files are wrong at the beginning.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start<F: Files<Made = T>>(files: F) -> Result<Reloaded<T>, FileError> {
        let content = files.read()?;
        let (sender, receiver) = watch::channel(Arc::new(files.make(&content)?));
        tokio::spawn(follow(Arc::new(files), content, sender));
        Ok(Reloaded(receiver))
    }

    /// Returns the latest good settings.
    pub fn now(&self) -> Arc<T> {
        Arc::clone(&self.0.borrow())
    }
}

impl<T> Clone for Reloaded<T> {
    fn clone(&self) -> Reloaded<T> {
        Reloaded(self.0.clone())
    }
}

impl<T> Debug for Reloaded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloaded").finish_non_exhaustive()
    }
}

async fn follow<F: Files>(files: Arc<F>, content: F::Content, made: watch::Sender<Arc<F::Made>>) {
    // The contents that were tried last, and those that were read since.
    let (mut tried, mut changed) = (Ok(content), None);
    loop {
        tokio::select! {
            () = made.closed() => return,
            () = tokio::time::sleep(CHECK_INTERVAL) => {}
        }
        let reader = Arc::clone(&files);
        let Ok(content) = spawn_blocking(move || reader.read()).await else { return };
        // Files that belong together are not always replaced together, nor written at once. So a change counts when
        // two reads in a row show the same.
        if content == tried {
            changed = None;
            continue;
        }
        if changed.as_ref() != Some(&content) {
            changed = Some(content);
            continue;
        }
        match content.as_ref().map_err(Clone::clone).and_then(|content| files.make(content)) {
            Ok(new) => {
                made.send_replace(Arc::new(new));
                tracing::info!("{files}: reloaded");
            }
            Err(error) => tracing::error!(%error, "{files}: the new version is not used, the old one stays"),
        }
        (tried, changed) = (content, None);
    }
}

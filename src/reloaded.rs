//! Settings that change while the broker runs: what is made of files is made anew when these change.

use std::fmt::{self, Debug, Display};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::files::FileError;

/// How often the files are read. Reading is sure where a notification would have to understand how Kubernetes swaps
/// the folder behind a symbolic link, and it costs nothing that could be measured.
const LOOK: Duration = Duration::from_secs(1);

/// Files, and what is made of them.
pub trait Files: Display + Send + Sync + 'static {
    /// What stands in them.
    type Content: PartialEq + Send + Sync;
    /// What that means.
    type Made: Send + Sync + 'static;

    /// Reads the files.
    ///
    /// # Errors
    /// If one cannot be read.
    fn read(&self) -> Result<Self::Content, FileError>;

    /// Makes of them what they are for.
    ///
    /// # Errors
    /// If something in them is wrong.
    fn make(&self, content: &Self::Content) -> Result<Self::Made, FileError>;
}

/// What is made of files, as they are now. Cloning shares it.
pub struct Reloaded<T>(watch::Receiver<Arc<T>>);

impl<T: Send + Sync + 'static> Reloaded<T> {
    /// Makes it for the first time, and anew whenever the files change, until the last clone is gone. If they are
    /// wrong then, that is logged and the last good one stays.
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

    /// The latest good one.
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
    // What was tried last, and what has come since.
    let (mut tried, mut changed) = (Ok(content), None);
    loop {
        tokio::select! {
            () = made.closed() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let reader = Arc::clone(&files);
        let Ok(content) = spawn_blocking(move || reader.read()).await else { return };
        // Files that belong together are not always replaced together, nor written at once: a change counts when it
        // has lasted for a look.
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

//! Raises the limit of open files, and derives from it how many clients may be connected.

use std::io;
use std::num::NonZeroUsize;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::admin;

/// The default limit of connected clients, if there are enough open files.
pub const MAX_CONNECTIONS: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// The files that a broker opens besides connections of clients: logs, sockets, certificates that it reads.
const OTHER_FILES: usize = 64;

/// Raises the limit of open files as far as this process may, and returns how many clients may be connected at once:
/// as many as are `wanted`, or [`MAX_CONNECTIONS`] or what there are files for. `shards` is the number of memcached servers.
///
/// # Errors
/// If there are not as many files as are wanted, with what to do about it.
pub fn connections(wanted: Option<NonZeroUsize>, shards: usize) -> io::Result<NonZeroUsize> {
    let ours = OTHER_FILES + admin::MAX_CONNECTIONS.get() + 4 * shards;
    let files = raise_limit();
    let room = NonZeroUsize::new(files.saturating_sub(ours)).unwrap_or(NonZeroUsize::MIN);
    match wanted {
        Some(wanted) if wanted > room => Err(io::Error::other(format!(
            "--max-connections {wanted} needs {} open files, and this process may have {files}: raise that limit (`ulimit -n`, \
             systemd's LimitNOFILE), or lower --max-connections",
            wanted.get().saturating_add(ours)
        ))),
        Some(wanted) => Ok(wanted),
        None if room < MAX_CONNECTIONS => {
            tracing::warn!(
                max_connections = room,
                "the limit of {files} open files leaves room for {room} connections: raise it (`ulimit -n`, systemd's \
                 LimitNOFILE) for more, or say --max-connections"
            );
            Ok(room)
        }
        None => Ok(MAX_CONNECTIONS),
    }
}

/// Raises the limit of open files to the most that this process may have, and returns it.
fn raise_limit() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let files = if raised.is_ok() { maximum } else { current };
    files.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX)
}

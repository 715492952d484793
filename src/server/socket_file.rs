//! A Unix socket in the file system. Nobody can open it before its permissions are set, it never replaces anything
//! that is in use, and it is removed at the end.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::unistd::Group;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tokio::net::{UnixListener, UnixSocket, UnixStream};

use super::listen::BACKLOG;
use crate::config::{SocketGroup, SocketOptions};

/// The longest path that fits into an address: 108 bytes with the zero at its end.
const LONGEST_PATH: usize = 107;

/// The longest time that other brokers that start may keep this one waiting. Each takes milliseconds.
const TURN: Duration = Duration::from_secs(10);
/// The interval at which a broker tries again to lock the folder.
const TURN_INTERVAL: Duration = Duration::from_millis(20);

/// The file of a socket on which the broker listens. Dropping it removes the file, unless another process has replaced
/// it.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    file: (u64, u64),
}

impl SocketFile {
    /// Listens at `path`. Replaces a socket on which nobody listens any more.
    ///
    /// # Errors
    /// Fails if somebody listens there, if the path is no socket, if it is too long or the group unknown, or with the
    /// operating system's error. Removes what was made by then.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the path as it was, or without a stale socket.
    pub(super) async fn listen(path: &Path, options: &SocketOptions) -> io::Result<(UnixListener, SocketFile)> {
        let length = path.as_os_str().as_bytes().len();
        if length > LONGEST_PATH {
            return Err(invalid(format!("the path is {length} bytes long, and a socket's may have {LONGEST_PATH}")));
        }
        let group = options.socket_group.as_ref().map(group_id).transpose()?;

        // Of two brokers that find a stale socket, the slower one would remove the new socket of the other. So they
        // take turns: by a lock on the folder, which leaves nothing behind and ends with its file descriptor.
        let _turn = lock_folder_of(path).await?;
        remove_stale(path).await?;

        let socket = UnixSocket::new_stream()?;
        socket.bind(path).map_err(|error| {
            explained(&error, "the broker's user cannot make it", "let that user write to the folder, and nobody else")
        })?;
        let file = SocketFile { path: path.to_owned(), file: file_at(path)? };
        if group.is_some() {
            lchown(path, None, group).map_err(|error| {
                let what = "it cannot be given to its group (--socket-group)";
                explained(&error, what, "the broker's user has to be a member of it")
            })?;
        }
        fs::set_permissions(path, Permissions::from_mode(options.socket_mode.bits()))?;
        // Before this, nobody can connect, whatever the permissions.
        Ok((socket.listen(BACKLOG)?, file))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if file_at(&self.path).is_ok_and(|file| file == self.file)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket");
        }
    }
}

/// Locks the folder of `path` until the result is dropped. Never blocks the thread.
///
/// # Errors
/// If another process keeps the folder locked for [`TURN`], with its id where the kernel tells it; and what the operating
/// system says.
async fn lock_folder_of(path: &Path) -> io::Result<File> {
    let path = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = File::open(path).map_err(|error| {
        let what = format!("its folder {} cannot be opened", path.display());
        explained(&error, &what, "make it, and let the broker's user write to it and nobody else")
    })?;
    let give_up = Instant::now() + TURN;
    let mut told = false;
    loop {
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(folder),
            Err(Errno::WOULDBLOCK) if Instant::now() < give_up => {}
            Err(Errno::WOULDBLOCK) => {
                let by = locked_by(&folder).map_or("another process".into(), |pid| format!("process {pid}"));
                return Err(io::Error::other(format!(
                    "{by} keeps the folder {} locked (flock), as a broker does for a moment when it starts; after \
                     {TURN:?} this one has given up: see what that process is, and end it if it hangs",
                    path.display()
                )));
            }
            Err(error) => return Err(error.into()),
        }
        if !std::mem::replace(&mut told, true) {
            tracing::info!(folder = %path.display(), by = locked_by(&folder), "waits for a lock on the socket's folder");
        }
        tokio::time::sleep(TURN_INTERVAL).await;
    }
}

/// Returns the id of the process that has locked this file, if `/proc/locks` has it.
fn locked_by(file: &File) -> Option<u32> {
    let inode = format!(":{}", file.metadata().ok()?.ino());
    // 1: FLOCK  ADVISORY  WRITE 1234 fe:01:567 0 EOF
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| match *line.split_whitespace().collect::<Vec<_>>() {
        [_, "FLOCK", _, _, pid, file, ..] if file.ends_with(&inode) => pid.parse().ok(),
        _ => None,
    })
}

/// Removes the socket at `path` if nobody listens on it.
async fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(there) if !there.file_type().is_socket() => {
            return Err(invalid("what is there is no socket; remove it, or listen elsewhere"));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        // Its queue is full.
        Ok(_) => Err(taken()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(taken()),
        Err(error) => {
            Err(io::Error::new(error.kind(), format!("cannot tell whether the socket there is in use: {error}")))
        }
    }
}

fn taken() -> io::Error {
    io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")
}

fn group_id(group: &SocketGroup) -> io::Result<u32> {
    match group {
        SocketGroup::Id(id) => Ok(*id),
        SocketGroup::Name(name) => match Group::from_name(name)? {
            Some(group) => Ok(group.gid.as_raw()),
            None => {
                let make = format!("make it, such as with `groupadd --system {name}`");
                Err(invalid(format!("there is no group {name:?} (--socket-group): {make}")))
            }
        },
    }
}

fn file_at(path: &Path) -> io::Result<(u64, u64)> {
    let there = fs::symlink_metadata(path)?;
    Ok((there.dev(), there.ino()))
}

/// Adds to an error what failed, and what to do.
fn explained(error: &io::Error, what: &str, todo: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}; {todo}"))
}

fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why.into())
}

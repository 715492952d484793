//! A connection to a memcached on which every command of a batch has an answer of its own.
//!
//! The `memcache` crate's own batch ends with the first command that is refused: the answers before it are dropped, and
//! those behind it are never read. So commands are written by a second handle of the same socket, and each answer is
//! received by itself.

use std::io;
use std::time::Duration;

use lockbroker_core::command::{Command, Reply};
use memcache::exp::{AsyncMetaConnection, Error};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::wire::{self, Wire};

/// The longest time for one exchange with a memcached, or one step of connecting.
pub(super) const BOUND: Duration = Duration::from_secs(1);

/// Commands go up together and are answered in their order, a line each.
pub(super) struct Connection {
    commands: TcpStream,
    answers: AsyncMetaConnection,
}

impl Connection {
    /// Makes a connection of a socket on which nothing is under way.
    pub(super) fn new(stream: TcpStream) -> io::Result<Connection> {
        let stream = stream.into_std()?;
        let commands = TcpStream::from_std(stream.try_clone()?)?;
        Ok(Connection { commands, answers: AsyncMetaConnection::from_stream(TcpStream::from_std(stream)?) })
    }

    /// Sends the commands, and reads what is said to each within [`BOUND`].
    ///
    /// # Errors
    /// Nobody knows what any of them came to, nor to which the next answer belongs: the connection is of no use any
    /// more.
    ///
    /// # Cancel safety
    /// As after an error.
    pub(super) async fn exchange(&mut self, wire: &Wire, commands: &[Command]) -> Result<Vec<Reply>, Error> {
        match timeout(BOUND, self.exchange_in_time(wire, commands)).await {
            Ok(result) => result,
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
        }
    }

    async fn exchange_in_time(&mut self, wire: &Wire, commands: &[Command]) -> Result<Vec<Reply>, Error> {
        let mut payload = Vec::new();
        for command in commands {
            wire.command(command).encode_into(&mut payload)?;
        }
        self.commands.write_all(&payload).await?;
        let mut said = Vec::with_capacity(commands.len());
        for command in commands {
            said.push(match self.answers.receive().await {
                Ok(response) => wire::read(command, &response).ok_or_else(|| odd(&format!("{:?}", response.rc())))?,
                // One line, whatever the command was: the next one is the next command's.
                Err(Error::Server(why) | Error::Rejected(why)) => wire::read_refusal(&why).ok_or_else(|| odd(&why))?,
                Err(error) => return Err(error),
            });
        }
        Ok(said)
    }
}

fn odd(what: &str) -> Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("it answered {what}")).into()
}

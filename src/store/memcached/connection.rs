//! A connection to a memcached on which every command of a batch has an answer of its own.
//!
//! The `memcache` crate's own batch ends with the first command that is refused: the answers before it are dropped, and
//! those behind it are never read. So commands are written by a second handle of the same socket, and each answer is
//! received by itself.

use memcache::exp::{AsyncMetaConnection, Error, MetaCommand, MetaResponse};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// What a memcached said to one command, or, by a SERVER_ERROR, why it did not carry it out.
pub(super) type Said = Result<MetaResponse, String>;

/// Commands go up together and are answered in their order, a line each.
pub(super) struct Connection {
    commands: TcpStream,
    answers: AsyncMetaConnection,
}

impl Connection {
    /// On a socket on which nothing is under way.
    pub(super) fn new(stream: TcpStream) -> std::io::Result<Connection> {
        let stream = stream.into_std()?;
        let commands = TcpStream::from_std(stream.try_clone()?)?;
        Ok(Connection { commands, answers: AsyncMetaConnection::from_stream(TcpStream::from_std(stream)?) })
    }

    /// Sends the commands and reads what is said to each.
    ///
    /// # Errors
    /// Nobody knows what any of them came to, nor to which the next answer belongs: the connection is of no use any
    /// more.
    ///
    /// # Cancel safety
    /// As after an error.
    pub(super) async fn exchange(&mut self, commands: &[MetaCommand]) -> Result<Vec<Said>, Error> {
        let mut payload = Vec::new();
        for command in commands {
            command.encode_into(&mut payload)?;
        }
        self.commands.write_all(&payload).await?;
        let mut said = Vec::with_capacity(commands.len());
        for _ in commands {
            said.push(match self.answers.receive().await {
                Ok(response) => Ok(response),
                // One line, whatever the command was: the next one is the next command's.
                Err(Error::Server(why)) => Err(why),
                Err(error) => return Err(error),
            });
        }
        Ok(said)
    }

    /// As [`exchange`](Connection::exchange), where one refusal spoils all.
    pub(super) async fn all(&mut self, commands: &[MetaCommand]) -> Result<Vec<MetaResponse>, Error> {
        let said = self.exchange(commands).await?;
        said.into_iter().map(|said| said.map_err(Error::Server)).collect()
    }
}

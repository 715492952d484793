//! Writes messages, logs and the audit in threads of their own, and results to stdout. A message that cannot be written,
//! or that nobody reads, holds up nothing else.

use std::io::{self, Write};
use std::mem;
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use crate::signal_mask::held_back;

/// The limit of what waits to be written, beyond which more is dropped.
const ROOM: usize = 1 << 20;

/// The longest time that the end of the process waits for what is still unwritten.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// An output that never blocks and never fails. Cheap to clone; clones share the thread and the queue.
#[derive(Debug, Clone)]
pub struct Output(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Notified when there is something to write, and when everything is written.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<u8>,
    /// The thread writes what it has taken from `waiting`.
    writing: bool,
    /// The number of messages lost since the last one that could be written.
    lost: u64,
    /// The number of messages lost in all.
    lost_in_all: u64,
}

/// Returns this process' stderr.
pub fn stderr() -> &'static Output {
    static STDERR: OnceLock<Output> = OnceLock::new();
    STDERR.get_or_init(|| Output::start("stderr", io::stderr()))
}

/// Writes one line to stderr for the person at the terminal.
pub fn say(message: impl std::fmt::Display) {
    stderr().write(format!("lockbroker: {message}\n").as_bytes());
}

/// EX_IOERR of sysexits.h: the result could not be written.
const CANNOT_WRITE: u8 = 74;

/// Writes a command's result to stdout. If the reader has gone, that is no failure. Any other failure is reported, and
/// the command fails.
pub fn print(result: &str) -> ExitCode {
    print_more(result).unwrap_or(ExitCode::SUCCESS)
}

/// Writes a part of a command's result to stdout. Returns the exit code if no more can be written: nobody reads, or that fails.
pub fn print_more(part: &str) -> Option<ExitCode> {
    let mut stdout = io::stdout().lock();
    let error = stdout.write_all(part.as_bytes()).and_then(|()| stdout.flush()).err()?;
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Some(ExitCode::SUCCESS);
    }
    say(format_args!("cannot write to stdout: {error}"));
    Some(CANNOT_WRITE.into())
}

impl Output {
    /// Starts the thread that writes to `to`, which warnings call `name`.
    pub(crate) fn start(name: &'static str, to: impl Write + Send + 'static) -> Output {
        let shared = Arc::new(Shared::default());
        let output = Output(Arc::clone(&shared));
        // Without a thread the queue fills up, and more is dropped.
        let run = move || shared.run(name, to);
        // It takes no signals. SIGTTOU would stop the process at a write while a command has the terminal, and SIGPIPE end it after an
        // attempt to become a command has failed.
        let _ = held_back(|| thread::Builder::new().name("output".into()).spawn(run));
        output
    }

    /// Queues a message, or drops it if too much waits already.
    pub fn write(&self, message: &[u8]) {
        let mut queue = self.0.queue();
        if queue.waiting.len() + message.len() > ROOM {
            queue.lose(1);
            return;
        }
        queue.waiting.extend_from_slice(message);
        self.0.changed.notify_all();
    }

    /// Returns how many messages were lost so far.
    pub(crate) fn lost_so_far(&self) -> u64 {
        self.0.queue().lost_in_all
    }

    /// Waits until everything is written, or for a second if nobody reads it. For the end of the process.
    pub fn flush(&self) {
        let queue = self.0.queue();
        let unwritten = |queue: &mut Queue| queue.writing || !queue.waiting.is_empty();
        drop(self.0.changed.wait_timeout_while(queue, LAST_WORDS, unwritten).unwrap_or_else(PoisonError::into_inner));
    }
}

impl Queue {
    fn lose(&mut self, messages: u64) {
        self.lost += messages;
        self.lost_in_all += messages;
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, name: &str, mut to: impl Write) {
        let mut torn = false;
        let mut queue = self.queue();
        loop {
            let idle = |queue: &mut Queue| queue.waiting.is_empty();
            queue = self.changed.wait_while(queue, idle).unwrap_or_else(PoisonError::into_inner);
            let messages = mem::take(&mut queue.waiting);
            queue.writing = true;
            drop(queue);
            // Ends a line that is broken, so that the next one is not lost with it.
            let written = if torn { to.write_all(b"\n") } else { Ok(()) };
            let (unwritten, written) = match written {
                Ok(()) => write(&mut to, &messages),
                failed => (&*messages, failed),
            };
            if let Some(last) = messages[..messages.len() - unwritten.len()].last() {
                torn = *last != b'\n';
            }
            queue = self.queue();
            queue.writing = false;
            let lost = match written {
                Ok(()) => mem::take(&mut queue.lost),
                Err(_) => {
                    // The disk is full, or the reader has gone: nobody can be told now.
                    queue.lose(unwritten.iter().filter(|&&byte| byte == b'\n').count() as u64);
                    0
                }
            };
            self.changed.notify_all();
            if lost > 0 {
                drop(queue);
                tracing::warn!(lost, output = name, "lines were lost: the output was full, or nobody read it");
                queue = self.queue();
            }
        }
    }
}

/// Writes `bytes`. Returns what is left of them where that fails.
fn write<'a>(to: &mut impl Write, mut bytes: &'a [u8]) -> (&'a [u8], io::Result<()>) {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return (bytes, Err(io::ErrorKind::WriteZero.into())),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (bytes, Err(error)),
        }
    }
    (bytes, to.flush())
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = Messages;

    fn make_writer(&'a self) -> Messages {
        Messages(self.clone())
    }
}

/// Writes log lines. Each write is one line, as `tracing_subscriber` does it.
#[derive(Debug)]
pub struct Messages(Output);

impl Write for Messages {
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        self.0.write(message);
        Ok(message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Takes one message whenever the test lets it.
    struct Gated {
        turns: mpsc::Receiver<io::Result<()>>,
        taken: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.turns.recv().unwrap_or(Ok(()))?;
            let _ = self.taken.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_output_that_nobody_reads_or_that_fails_holds_up_nobody_and_is_told_later() {
        let ((turn, turns), (taken, takes)) = (mpsc::channel(), mpsc::channel());
        let output = Output::start("a test", Gated { turns, taken });
        let wait = |done: &dyn Fn(&Queue) -> bool| {
            while !done(&output.0.queue()) {
                thread::yield_now();
            }
        };
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        output.write(&line);
        wait(&|queue| queue.writing && queue.waiting.is_empty());
        // The first half waits, the second half finds no room.
        let room = (ROOM / line.len()) as u64;
        (0..2 * room).for_each(|_| output.write(&line));
        assert_eq!(output.0.queue().lost, room);
        turn.send(Err(io::Error::other("full"))).unwrap();
        wait(&|queue| queue.lost == room + 1);
        drop(turn);
        wait(&|queue| !queue.writing && queue.waiting.is_empty());
        output.write(b"last\n");
        output.flush();
        wait(&|queue| !queue.writing && queue.waiting.is_empty());
        assert_eq!(takes.try_iter().last().unwrap(), b"last\n");
        assert_eq!(output.0.queue().lost, 0, "it has been told");
    }

    /// Has room for so many bytes.
    #[derive(Clone)]
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (written, room) = &mut *self.0.lock().unwrap();
            match bytes.len().min(*room - written.len()) {
                0 => Err(io::ErrorKind::StorageFull.into()),
                fits => {
                    written.extend_from_slice(&bytes[..fits]);
                    Ok(fits)
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_costs_no_line_but_those_that_are_counted() {
        let disk = Disk(Arc::new(Mutex::new((Vec::new(), 15))));
        let output = Output::start("a test", disk.clone());
        // One line is whole, one is torn, and there is no room for the third.
        output.write(b"line one.\nline two.\nline three.\n");
        output.flush();
        assert_eq!(output.lost_so_far(), 2);
        disk.0.lock().unwrap().1 = 1_000;
        output.write(b"line four.\n");
        output.flush();
        output.write(b"line five.\n");
        output.flush();
        let written = disk.0.lock().unwrap().0.clone();
        assert_eq!(String::from_utf8(written).unwrap(), "line one.\nline \nline four.\nline five.\n");
        assert_eq!(output.lost_so_far(), 2);
    }
}

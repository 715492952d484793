//! nginx, HAProxy and Envoy as processes that a test reloads and kills.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, geteuid, kill_process_group};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::support::{Process, SOON, eventually, free_port, tool};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    Nginx,
    Haproxy,
    Envoy,
}

/// Whose settings it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settings {
    /// Those of deploy/proxies, which docs/proxies.md explains.
    Documented,
    /// What works at first sight, with all else left to its default; the old process ends 3 s after a reload.
    Plain,
}

impl Program {
    pub(crate) const ALL: [Self; 3] = [Self::Nginx, Self::Haproxy, Self::Envoy];

    fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
        }
    }

    fn binary(self) -> PathBuf {
        tool(&format!("LOCKBROKER_TEST_{}", self.name().to_uppercase()), &["scripts/proxy", self.name()])
    }

    /// Its configuration as an operator has it.
    fn config(self, settings: Settings) -> String {
        let file = match self {
            Self::Nginx => "nginx.conf",
            Self::Haproxy => "haproxy.cfg",
            Self::Envoy => "envoy.yaml",
        };
        let path = match settings {
            Settings::Documented => format!("deploy/proxies/{file}"),
            Settings::Plain => format!("tests/suite/proxies/plain-{file}"),
        };
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
    }
}

/// The file as it is, but for this machine's addresses and folder. Both brokers are the same.
fn here(program: Program, settings: Settings, own: SocketAddr, broker: SocketAddr, folder: &Path) -> String {
    let written = |host: &str, port: u16| match program {
        Program::Nginx | Program::Haproxy => format!("{host}:{port}"),
        Program::Envoy => format!("{{address: {host}, port_value: {port}}}"),
    };
    let mut text = program.config(settings);
    for (host, here) in [("0.0.0.0", own), ("10.0.0.11", broker), ("10.0.0.12", broker)] {
        let there = written(host, 28551);
        // The plain ones have one broker.
        assert!(text.contains(&there) || host == "10.0.0.12", "{program:?}, {settings:?}: no {there}");
        text = text.replace(&there, &written(&here.ip().to_string(), here.port()));
    }
    if program == Program::Nginx {
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {}/{kind};", folder.display()));
        text = text.replace("http {", &format!("http {{ access_log off; {}", temporary.concat()));
    }
    text
}

/// A proxy before a broker.
#[derive(Debug)]
pub(crate) struct Proxied {
    program: Program,
    settings: Settings,
    binary: PathBuf,
    address: SocketAddr,
    folder: TempDir,
    config: PathBuf,
    /// The latest comes last; those before it see to what they have.
    processes: Vec<Process>,
}

impl Proxied {
    pub(crate) async fn start(program: Program, settings: Settings, broker: SocketAddr) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join(if program == Program::Envoy { "proxy.yaml" } else { "proxy.conf" });
        fs::write(&config, here(program, settings, address, broker, folder.path())).unwrap();
        let binary = program.binary();
        let mut proxied = Self { program, settings, binary, address, folder, config, processes: Vec::new() };
        proxied.start_again().await;
        proxied
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The first start, or one after `kill`. Returns when it listens.
    pub(crate) async fn start_again(&mut self) {
        assert!(self.processes.is_empty());
        let process = match self.program {
            Program::Envoy => {
                let id = self.folder.path().join("base-id").display().to_string();
                self.spawn(&["--use-dynamic-base-id", "--base-id-path", &id])
            }
            Program::Nginx | Program::Haproxy => self.spawn(&[]),
        };
        self.processes.push(process);
        self.listens().await;
    }

    async fn listens(&mut self) {
        eventually(SOON, &format!("{:?} listens", self.program), async || {
            let latest = self.processes.last_mut().unwrap();
            assert!(latest.exit().is_none(), "{:?} ended: {:?}", self.program, latest.log());
            TcpStream::connect(self.address).await.is_ok()
        })
        .await;
    }

    fn spawn(&self, more: &[&str]) -> Process {
        let folder = self.folder.path().display().to_string();
        let config = self.config.display().to_string();
        let mut run = Command::new(&self.binary);
        match self.program {
            Program::Nginx => {
                let user = if geteuid().is_root() { "user root;" } else { "" };
                let global = format!("daemon off; {user} pid {folder}/pid; error_log stderr notice;");
                run.args(["-p", &folder, "-e", "stderr", "-c", &config, "-g", &global]);
            }
            Program::Haproxy => {
                run.args(["-db", "-f", &config]);
            }
            Program::Envoy => {
                run.args(["--config-path", &config, "--concurrency", "1"]);
                run.args(["--log-level", "warning", "--component-log-level", "config:info"]);
                if self.settings == Settings::Plain {
                    run.args(["--drain-time-s", "2", "--parent-shutdown-time-s", "3"]);
                }
            }
        }
        // nginx' workers are killed with it, as where a container ends.
        Process::spawn(&self.to_string(), run.args(more).process_group(0))
    }

    /// What its operator does after a change of its settings. Returns when new connections are the new process'.
    pub(crate) async fn reload(&mut self) {
        let old = self.processes.last_mut().unwrap();
        // Which process says what when it is done; nginx' worker writes to the log of its parent.
        let (of, text) = match self.program {
            Program::Nginx => {
                old.signal(Signal::HUP);
                (0, "gracefully shutting down")
            }
            Program::Haproxy => {
                let old = old.pid().to_string();
                let new = self.spawn(&["-sf", &old]);
                self.processes.push(new);
                (0, "Proxy lockbroker stopped")
            }
            Program::Envoy => {
                let id = fs::read_to_string(self.folder.path().join("base-id")).unwrap();
                let new = self.spawn(&["--base-id", id.trim(), "--restart-epoch", "1"]);
                self.processes.push(new);
                (1, "starting workers")
            }
        };
        eventually(SOON, &format!("{:?} logs {text:?}", self.program), async || {
            self.processes[of].log().iter().any(|line| line.contains(text))
        })
        .await;
        self.listens().await;
    }

    /// SIGKILL to all that belongs to it, as where a container ends or memory runs out.
    pub(crate) fn kill(&mut self) {
        for mut process in self.processes.drain(..) {
            if process.exit().is_none() {
                kill_process_group(Pid::from_raw(process.pid() as i32).unwrap(), Signal::KILL).unwrap();
            }
            process.kill();
        }
    }
}

impl fmt::Display for Proxied {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}, {:?}", self.program, self.settings)
    }
}

impl Drop for Proxied {
    fn drop(&mut self) {
        self.kill();
    }
}

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

    fn path(self) -> PathBuf {
        tool(&format!("LOCKBROKER_TEST_{}", self.name().to_uppercase()), &["scripts/proxy", self.name()])
    }

    fn config(self, settings: Settings) -> &'static str {
        match (self, settings) {
            (Self::Nginx, Settings::Documented) => include_str!("../../../deploy/proxies/nginx.conf"),
            (Self::Nginx, Settings::Plain) => include_str!("plain-nginx.conf"),
            (Self::Haproxy, Settings::Documented) => include_str!("../../../deploy/proxies/haproxy.cfg"),
            (Self::Haproxy, Settings::Plain) => include_str!("plain-haproxy.cfg"),
            (Self::Envoy, Settings::Documented) => include_str!("../../../deploy/proxies/envoy.yaml"),
            (Self::Envoy, Settings::Plain) => include_str!("plain-envoy.yaml"),
        }
    }
}

/// The file as it is, but for this machine's addresses: one broker for both of them.
fn here(program: Program, settings: Settings, own: SocketAddr, broker: SocketAddr, folder: &Path) -> String {
    let text = program.config(settings);
    let replaced = |text: String, from: &str, to: &str| {
        assert!(text.contains(from), "{program:?}, {settings:?}: no {from:?}");
        text.replace(from, to)
    };
    let port = |port: u16| format!("port_value: {port}");
    match program {
        Program::Nginx => {
            let text = replaced(text.to_owned(), "listen 28551;", &format!("listen {own};"));
            let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .map(|kind| format!("{kind}_temp_path {}/{kind};", folder.display()))
                .concat();
            let text = replaced(text, "http {", &format!("http {{ {temporary} access_log off;"));
            to_broker(&text, &broker.to_string())
        }
        Program::Haproxy => {
            let text = replaced(text.to_owned(), "bind :28551 ", &format!("bind {own} "));
            to_broker(&text, &broker.to_string())
        }
        Program::Envoy => {
            let listen = format!("0.0.0.0, {}", port(28551));
            let text = replaced(text.to_owned(), &listen, &format!("{}, {}", own.ip(), port(own.port())));
            let broker = format!("{}, {}", broker.ip(), port(broker.port()));
            let text = replaced(text, &format!("10.0.0.11, {}", port(28551)), &broker);
            text.replace(&format!("10.0.0.12, {}", port(28551)), &broker)
        }
    }
}

fn to_broker(text: &str, broker: &str) -> String {
    assert!(text.contains("10.0.0.11:28551"));
    text.replace("10.0.0.11:28551", broker).replace("10.0.0.12:28551", broker)
}

/// A proxy before a broker.
#[derive(Debug)]
pub(crate) struct Proxied {
    program: Program,
    settings: Settings,
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
        let mut proxied = Self { program, settings, address, folder, config, processes: Vec::new() };
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
        let mut run = Command::new(self.program.path());
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

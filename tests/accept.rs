//! A broker that has run out of file descriptors goes on once it has some again.
//!
//! In a process of its own, since the limit is the process's.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::time::Duration;

use lockbroker::config::ListenAddress;
use lockbroker::server::Listener;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

#[tokio::test]
async fn accepting_goes_on_after_file_descriptors_ran_out() {
    let listener = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let ListenAddress::Tcp(address) = listener.address().unwrap() else { panic!("no TCP address") };
    let client = TcpSocket::new_v4().unwrap();
    // From here on no descriptor is left.
    let before = getrlimit(Resource::Nofile);
    let next = File::open("/dev/null").unwrap().as_raw_fd() as u64;
    setrlimit(Resource::Nofile, Rlimit { current: Some(next), maximum: before.maximum }).unwrap();
    File::open("/dev/null").unwrap_err();

    // The kernel completes the connection; that the server cannot accept it is between those two.
    let _client: TcpStream = client.connect(address).await.unwrap();
    let accepting = listener.accept();
    tokio::pin!(accepting);
    timeout(Duration::from_millis(100), &mut accepting).await.expect_err("accepted without a descriptor");

    setrlimit(Resource::Nofile, before).unwrap();
    timeout(Duration::from_secs(60), accepting).await.expect("accepts again");
}

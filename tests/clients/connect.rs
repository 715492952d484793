//! A client of Connect's, over the HTTP door: by HTTP/1.1 and 2, with JSON and with protobuf's own format.

use std::process::Command;

use crate::support::{Broker, output, tool};

#[tokio::test]
async fn connect_looks_takes_and_is_told_what_is_wrong() {
    let program = tool("LOCKBROKER_TEST_CLIENT_CONNECT", &["scripts/client", "connect"]);
    let broker = Broker::start(&["--http-listen", "127.0.0.1:0"]).await;
    let line = broker.logged("listening for JSON over HTTP").await;
    let door = line.split('"').find(|text| text.starts_with("127.0.0.1:")).unwrap();
    let output = output(Command::new(program).args([&format!("http://{door}"), "nightly"]));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let each = "state STATE_FREE \nfailed InvalidArgument INVALID_FIELD name: must not be empty\nacquired true\n\
                state STATE_HELD connect\nfailed InvalidArgument INVALID_FIELD\n";
    let all = ["1.1 json", "1.1 proto", "2 json", "2 proto"].map(|how| format!("by {how}\n{each}"));
    assert_eq!(said, all.concat());
}

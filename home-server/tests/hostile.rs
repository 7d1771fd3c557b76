//! Strangers who speak anything but the protocol.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod common;

use common::{Lab, text, until};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

#[test]
fn a_server_goes_on_while_strangers_send_web_requests_garbage_and_nothing() {
    let mut lab = Lab::joined(2);
    let key = lab.path("ann.key");
    let placed = lab.run(&["register", "--json", "--key", key.to_str().unwrap(), "--home", "s0.example"]);
    let placed: serde_json::Value = serde_json::from_slice(&placed.stdout).unwrap();
    let guid = placed["guid"].as_str().unwrap();

    let mut silent = Vec::new();
    for round in 0u32..200 {
        for port in [lab.servers[0].listen, lab.servers[0].admin] {
            let mut stream = TcpStream::connect(port).unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            let garbage: Vec<u8> = (0..999).map(|at: u32| (at.wrapping_mul(round ^ 0x9e37_79b9) >> 11) as u8).collect();
            let sent = match round % 4 {
                0 => stream.write_all(b"POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n"),
                1 => stream.write_all(&garbage),
                // The start of a TLS record that never ends.
                2 => stream.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]),
                _ => Ok(()),
            };
            // It may have hung up already, which is right.
            drop(sent);
            drop(stream.read(&mut [0; 64]));
            if round % 4 >= 2 && port == lab.servers[0].listen {
                silent.push(stream);
            }
        }
    }
    assert!(lab.servers[0].is_running());
    let found = lab.run(&["lookup", guid]);
    assert!(text(&found.stdout).starts_with("s0.example"), "{}{}", text(&found.stdout), text(&found.stderr));
    until("it has counted them", || {
        let metrics = lab.servers[0].metrics().unwrap();
        metrics["tcp_handshakes_failed_total"] >= 50.0 && metrics["tcp_inbound_total"] >= 200.0
    });
    assert_eq!(lab.servers[0].get("/health").unwrap().0, 200);
    drop(silent);
    assert_eq!(lab.stop(0).code(), Some(0));
}

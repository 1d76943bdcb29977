//! Asks a server of ours, for health checks where there is no other client: one request, one reply, one connection.
//!
//! Enough HTTP for our own small replies; it follows no redirect and knows no TLS.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// What a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

/// Our replies are far smaller.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Asks for `path` at `host:port`. Each step may take as long as `patience`.
pub fn get(address: &str, path: &str, patience: Duration) -> io::Result<Answer> {
    let mut stream = connect(address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    // HTTP/1.0 has neither chunks nor connections that stay.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes())?;
    let mut reply = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut reply)?;
    let reply = String::from_utf8_lossy(&reply);
    let not_http = || io::Error::new(io::ErrorKind::InvalidData, "this is no reply of an HTTP server");
    let (head, body) = reply.split_once("\r\n\r\n").ok_or_else(not_http)?;
    let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
    Ok(Answer { status: status.ok_or_else(not_http)?, body: body.to_owned() })
}

/// A name may stand for several addresses of which only some are listened to.
fn connect(address: &str, patience: Duration) -> io::Result<TcpStream> {
    let mut refused = io::Error::new(io::ErrorKind::NotFound, "no address is known by this name");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, patience) {
            Ok(stream) => return Ok(stream),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

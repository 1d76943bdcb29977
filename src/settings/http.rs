//! `[http]`: where metrics, health and readiness are served.

use std::net::SocketAddr;

use super::fault::Wrong;
use super::reader::Reader;
use super::tree::Node;
use super::value::{Read, shown, text};

/// `[http]` of the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HttpSection {
    pub listen: Listen,
}

/// Where to listen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listen {
    /// The configuration does not say: a live run listens on loopback if the port is free.
    #[default]
    Unsaid,
    Off,
    At(SocketAddr),
}

pub(super) fn read(reader: Reader<'_>) -> Option<HttpSection> {
    let listen = reader.or("listen", Listen::Unsaid, listen);
    reader.finish().then_some(HttpSection { listen })
}

fn listen(node: &Node) -> Read<Listen> {
    const CURE: &str = "write \"127.0.0.1:9464\", \"0.0.0.0:9464\" for all networks, or \"off\"";
    let text = text(node)?;
    match text.trim() {
        "off" => Ok(Listen::Off),
        address => {
            // A name could mean several addresses, on networks that nobody thought of.
            let address = address.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
            let address = address.as_deref().unwrap_or(text.trim());
            let wrong = || Wrong::new(format!("{} is no address and port to listen on", shown(&text)), CURE);
            address.parse().map(Listen::At).map_err(|_| wrong())
        }
    }
}

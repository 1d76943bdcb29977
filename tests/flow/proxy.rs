//! A way to a store that fails: every request comes through, or is refused, or is lost on the way there or on the way back.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::disturbed::pass;
use super::events::Random;

/// What happens to requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    Fair,
    /// Nobody answers, and the connection stays.
    Hangs,
    /// Every request is answered with 503.
    Busy,
    /// In thousandths of the requests: answered with 503, done without an answer, cut off before it was done, hung.
    Storm([u64; 4]),
}

enum Fate {
    Through,
    Busy,
    Unanswered,
    CutOff,
    Hangs,
}

struct Shared {
    to: String,
    weather: Mutex<(Weather, Random)>,
    is_over: AtomicBool,
}

/// In front of a store, while it is held.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// `endpoint`: `http://host:port`.
    pub fn to(endpoint: &str, seed: u64) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let to = endpoint.trim_start_matches("http://").to_owned();
        let weather = Mutex::new((Weather::Fair, Random(seed)));
        let shared = Arc::new(Shared { to, weather, is_over: AtomicBool::new(false) });
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for client in listener.incoming().map_while(Result::ok) {
                    if shared.is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    let shared = Arc::clone(&shared);
                    // A connection that breaks is what this is for.
                    std::thread::spawn(move || drop(shared.serve(client)));
                }
            }
        });
        Proxy { address, shared, thread: Some(thread) }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn set(&self, weather: Weather) {
        self.shared.weather.lock().unwrap().0 = weather;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().unwrap().join();
    }
}

impl Shared {
    fn fate(&self) -> Fate {
        let (weather, random) = &mut *self.weather.lock().unwrap();
        match weather {
            Weather::Fair => Fate::Through,
            Weather::Hangs => Fate::Hangs,
            Weather::Busy => Fate::Busy,
            Weather::Storm([busy, unanswered, cut_off, hangs]) => match random.below(1000) {
                roll if roll < *busy => Fate::Busy,
                roll if roll < *busy + *unanswered => Fate::Unanswered,
                roll if roll < *busy + *unanswered + *cut_off => Fate::CutOff,
                roll if roll < *busy + *unanswered + *cut_off + *hangs => Fate::Hangs,
                _ => Fate::Through,
            },
        }
    }

    /// One request a connection.
    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        let request = request(&mut client)?;
        match self.fate() {
            Fate::Through => {
                let answer = self.forward(&request)?;
                client.write_all(&answer)
            }
            Fate::Unanswered => self.forward(&request).map(drop),
            Fate::CutOff => Ok(()),
            Fate::Busy => client.write_all(
                b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nRetry-After: 0\r\nConnection: close\r\n\r\n",
            ),
            Fate::Hangs => {
                // Until whoever asks has given up.
                client.set_read_timeout(Some(Duration::from_millis(100)))?;
                loop {
                    match client.read(&mut [0; 16]) {
                        Ok(0) => return Ok(()),
                        _ if self.is_over.load(Ordering::Relaxed) => return Ok(()),
                        Ok(_) => {}
                        Err(_) => pass(Duration::from_millis(10)),
                    }
                }
            }
        }
    }

    fn forward(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        let mut store = TcpStream::connect(&self.to)?;
        // It may answer before it has read all, and reset the connection: the answer counts.
        let written = store.write_all(request);
        let (mut answer, mut piece) = (Vec::new(), vec![0; 1 << 16]);
        loop {
            match store.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => answer.extend_from_slice(&piece[..count]),
                Err(_) if !answer.is_empty() => break,
                Err(error) => return Err(written.err().unwrap_or(error)),
            }
        }
        Ok(answer)
    }
}

/// Head and body, with the wish that the connection be closed behind the answer.
fn request(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let (mut bytes, mut piece) = (Vec::new(), vec![0; 1 << 16]);
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        match client.read(&mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => bytes.extend_from_slice(&piece[..count]),
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    while bytes.len() < head + length.unwrap_or(0) {
        match client.read(&mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => bytes.extend_from_slice(&piece[..count]),
        }
    }
    bytes.splice(head - 2..head - 2, *b"Connection: close\r\n");
    Ok(bytes)
}

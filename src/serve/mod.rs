//! What a process tells over HTTP: its metrics, whether it is alive, whether it is ready.
//!
//! Promises: it reads what others have left in `observe` and changes nothing; it answers while the run starts, and while
//! store or broker are away, for it has a thread of its own; a reply is small and made at once, whatever the request.

pub mod ask;
mod connections;

use std::future::IntoFuture;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::future::{Either, select};
use tokio::sync::oneshot;

use crate::observe::metrics::Metrics;
use crate::observe::vitals::{Ailment, Limits};
use crate::serve::connections::{Allowed, Bounded};

/// The port of OpenMetrics exporters where nobody says another one.
pub const PORT: u16 = 9464;

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on {address}: another process does; choose another address with `http.listen`, or \"off\"")]
    Taken { address: SocketAddr, source: io::Error },
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("the thread that serves HTTP cannot be started")]
    Thread(#[source] io::Error),
}

/// A server on a thread of its own, until it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What every request sees.
#[derive(Clone)]
struct Seen {
    metrics: Arc<Metrics>,
    limits: Limits,
}

impl Server {
    /// Listens, or says at once why not. Port 0 takes a free one.
    pub fn start(address: SocketAddr, metrics: Arc<Metrics>, limits: Limits) -> Result<Server, ServeError> {
        Server::allowing(Allowed::default(), address, metrics, limits)
    }

    fn allowing(
        allowed: Allowed,
        address: SocketAddr,
        metrics: Arc<Metrics>,
        limits: Limits,
    ) -> Result<Server, ServeError> {
        let listener = TcpListener::bind(address).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => ServeError::Taken { address, source },
            _ => ServeError::Listen { address, source },
        })?;
        let bound = listener.local_addr().map_err(|source| ServeError::Listen { address, source })?;
        listener.set_nonblocking(true).map_err(|source| ServeError::Listen { address, source })?;
        // Not the store's runtime: that one begins after the store is found, and its threads may all be busy with uploads,
        // just when somebody asks whether the process is alive.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
        let runtime = runtime.map_err(ServeError::Thread)?;
        let (stop, stopped) = oneshot::channel();
        let router = router(Seen { metrics, limits });
        let thread = std::thread::Builder::new().name("http".to_owned()).spawn(move || {
            let serve = async move {
                let listener = Bounded::new(tokio::net::TcpListener::from_std(listener)?, allowed);
                // A stop cuts off requests under way: the process ends.
                match select(axum::serve(listener, router).into_future(), stopped).await {
                    Either::Left((served, _)) => served,
                    Either::Right(_) => Ok(()),
                }
            };
            if let Err(error) = runtime.block_on(serve) {
                tracing::error!(%error, "metrics and health are no longer served");
            }
        });
        let thread = thread.map_err(ServeError::Thread)?;
        tracing::info!(address = %bound, "serving /metrics, /healthz and /readyz");
        Ok(Server { address: bound, stop: Some(stop), thread: Some(thread) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Its panic has ended the process already.
            let _ = thread.join();
        }
    }
}

fn router(seen: Seen) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(seen)
}

async fn index() -> &'static str {
    "tidewatch\n\n/metrics  OpenMetrics text, for Prometheus\n/healthz  200 while every worker steps, else 503 and why\n\
     /readyz   200 while results are up to date, else 503 and why\n"
}

async fn metrics(State(seen): State<Seen>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], seen.metrics.to_text()).into_response()
}

async fn healthz(State(seen): State<Seen>) -> Response {
    judged(&seen.metrics.vitals.look(Instant::now()).deadly(seen.limits))
}

async fn readyz(State(seen): State<Seen>) -> Response {
    judged(&seen.metrics.vitals.look(Instant::now()).hindering(seen.limits))
}

fn judged(ailments: &[Ailment]) -> Response {
    let told: String = ailments.iter().map(|ailment| format!("{ailment}\n")).collect();
    match ailments {
        [] => (StatusCode::OK, "ok\n".to_owned()).into_response(),
        _ => (StatusCode::SERVICE_UNAVAILABLE, told).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::vitals::Phase;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    const LIMITS: Limits = Limits { step: Duration::from_secs(30), commit: Duration::from_secs(60) };

    fn server() -> (Server, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new("p"));
        (Server::start((Ipv4Addr::LOCALHOST, 0).into(), Arc::clone(&metrics), LIMITS).unwrap(), metrics)
    }

    fn get(server: &Server, path: &str) -> (u16, String) {
        let answer = ask::get(&server.address().to_string(), path, Duration::from_secs(10)).unwrap();
        (answer.status, answer.body)
    }

    #[test]
    fn a_process_that_starts_is_alive_and_not_ready_and_says_why() {
        let (server, metrics) = server();
        assert_eq!(get(&server, "/healthz"), (200, "ok\n".to_owned()));
        assert_eq!(get(&server, "/readyz"), (503, "the source is not connected yet\n".to_owned()));
        metrics.vitals.reach(Phase::Flowing);
        assert_eq!(get(&server, "/readyz"), (200, "ok\n".to_owned()));
    }

    #[test]
    fn a_stalled_worker_makes_the_process_neither_alive_nor_ready() {
        let metrics = Arc::new(Metrics::new("p"));
        let limits = Limits { step: Duration::ZERO, ..LIMITS };
        let server = Server::start((Ipv4Addr::LOCALHOST, 0).into(), Arc::clone(&metrics), limits).unwrap();
        metrics.vitals.reach(Phase::Flowing);
        let pulse = metrics.vitals.worker(1);
        while metrics.vitals.look(Instant::now()).deadly(limits).is_empty() {
            std::thread::yield_now();
        }
        let stalled = (503, "worker 1 has made no step for 0 s\n".to_owned());
        assert_eq!([get(&server, "/healthz"), get(&server, "/readyz")], [stalled.clone(), stalled]);
        drop(pulse);
        assert_eq!(get(&server, "/healthz").0, 200);
    }

    #[test]
    fn a_taken_address_is_named() {
        let (server, metrics) = server();
        let error = Server::start(server.address(), metrics, LIMITS).unwrap_err();
        assert!(error.to_string().starts_with(&format!("cannot listen on {}", server.address())), "{error}");
        drop(server);
    }

    #[test]
    fn connections_that_say_nothing_make_room_for_those_that_ask() {
        let metrics = Arc::new(Metrics::new("p"));
        let allowed = Allowed { connections: 2, silence: Duration::from_millis(200) };
        let local = (Ipv4Addr::LOCALHOST, 0).into();
        let server = Server::allowing(allowed, local, metrics, LIMITS).unwrap();
        let mut idle = [(); 2].map(|()| std::net::TcpStream::connect(server.address()).unwrap());
        let begun = Instant::now();
        assert_eq!(get(&server, "/healthz").0, 200);
        assert!(begun.elapsed() >= Duration::from_millis(100), "there was no room before the others were sent away");
        for stream in &mut idle {
            assert_eq!(std::io::Read::read(stream, &mut [0; 1]).unwrap(), 0, "sent away");
        }
    }

    #[test]
    fn other_paths_and_methods_are_refused() {
        let (server, _) = server();
        assert_eq!(get(&server, "/etc/passwd").0, 404);
        assert_eq!(get(&server, "/").0, 200);
    }

    #[test]
    fn the_port_is_free_again_once_the_server_is_dropped() {
        let (server, metrics) = server();
        let address = server.address();
        // A connection that nobody uses must not hold it up.
        let idle = std::net::TcpStream::connect(address).unwrap();
        drop(server);
        drop(idle);
        assert!(ask::get(&address.to_string(), "/healthz", Duration::from_secs(10)).is_err());
        drop(metrics);
    }
}

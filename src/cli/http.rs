//! Where a run serves its metrics and health, and what happens if it cannot.
//!
//! A live run listens on loopback unless told otherwise; work with an end (`replay`, `run --once`) listens only where the
//! configuration names an address. Only a live run with such an address fails if that is taken: a recording replayed beside
//! the live run, with the same configuration, must not.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::observe::metrics::Metrics;
use crate::observe::vitals::Limits;
use crate::serve::{PORT, ServeError, Server};
use crate::settings::{HttpSection, Listen};

use super::engine::Input;

/// What was decided before anything is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Nothing,
    /// It would be nice, and nobody relies on it.
    Try(SocketAddr),
    /// Somebody relies on it.
    Insist(SocketAddr),
}

fn wish(listen: Listen, input: &Input, process: usize) -> Wish {
    let is_live = *input == Input::Live;
    match listen {
        Listen::Off => Wish::Nothing,
        Listen::At(address) if is_live => Wish::Insist(address),
        Listen::At(address) => Wish::Try(address),
        // Processes of one cluster may be on one machine.
        Listen::Unsaid if is_live => {
            let port = u16::try_from(process).ok().and_then(|process| PORT.checked_add(process));
            port.map_or(Wish::Nothing, |port| Wish::Try((Ipv4Addr::LOCALHOST, port).into()))
        }
        Listen::Unsaid => Wish::Nothing,
    }
}

/// Serves while what is returned is held.
pub(super) fn serve(
    section: HttpSection,
    input: &Input,
    process: usize,
    checkpoint_every: Duration,
    metrics: &Arc<Metrics>,
) -> Result<Option<Server>, ServeError> {
    let start = |address| Server::start(address, Arc::clone(metrics), Limits::of(checkpoint_every));
    match wish(section.listen, input, process) {
        Wish::Nothing => Ok(None),
        Wish::Insist(address) => start(address).map(Some),
        Wish::Try(address) => match start(address) {
            Err(ServeError::Taken { address, .. }) => {
                tracing::warn!(%address, "address taken, metrics and health are not served; set http.listen to another one");
                Ok(None)
            }
            started => started.map(Some),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_run_listens_on_loopback_and_other_work_only_where_it_is_told_to() {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        assert_eq!(wish(Listen::Unsaid, &Input::Live, 0), Wish::Try(local(9464)));
        assert_eq!(wish(Listen::Unsaid, &Input::Live, 2), Wish::Try(local(9466)), "each process its own");
        assert_eq!(wish(Listen::Off, &Input::Live, 0), Wish::Nothing);
        assert_eq!(wish(Listen::At(local(1)), &Input::Live, 2), Wish::Insist(local(1)));
        for input in [Input::Once, Input::AsItStands, Input::Recordings(Vec::new())] {
            assert_eq!(wish(Listen::Unsaid, &input, 0), Wish::Nothing);
            assert_eq!(wish(Listen::At(local(1)), &input, 0), Wish::Try(local(1)));
        }
    }
}

//! `health`: asks a running process, for health checks in a container that holds nothing but us.

use std::time::Duration;

use anyhow::{Context, bail};

use crate::serve::ask;

use super::arguments::HealthOptions;
use super::print;

/// A health check of a container gives up soon after.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) fn health(options: &HealthOptions) -> anyhow::Result<()> {
    let path = if options.ready { "/readyz" } else { "/healthz" };
    let asked = format!("http://{}{path}", options.address);
    let answer = ask::get(&options.address, path, PATIENCE).with_context(|| format!("{asked} does not answer"))?;
    match answer.status {
        200 => print(answer.body.as_bytes())?,
        status => bail!("{asked} says {status}: {}", answer.body.trim_end().replace('\n', "; ")),
    }
    Ok(())
}

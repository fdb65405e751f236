//! `portcullis healthcheck`: whether the hub on this machine is ready, as an exit code.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::Args;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::config::HttpAddress;

/// How long the hub may take: less than what a container's health check is given by custom.
const WITHIN: Duration = Duration::from_secs(4);
/// No answer is longer.
const LONGEST: u64 = 64 * 1024;

/// Whom to ask, and what.
#[derive(Debug, Args)]
pub struct HealthcheckOptions {
    #[command(flatten)]
    pub hub: HttpAddress,
    /// Ask only whether it lives, not whether all of its parts work.
    #[arg(long)]
    pub live: bool,
}

/// Asks, and succeeds if the answer is 200.
///
/// # Errors
/// What the hub said, or why it said nothing.
pub async fn run(options: &HealthcheckOptions) -> anyhow::Result<()> {
    let address = SocketAddr::new(reachable(options.hub.host), options.hub.port);
    let path = if options.live { "/healthz" } else { "/readyz" };
    let answer = tokio::time::timeout(WITHIN, ask(address, path)).await;
    let answer = answer.with_context(|| format!("no answer from {address} within {WITHIN:?}"))?;
    let answer = answer.with_context(|| format!("no answer from {address}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        bail!("{path} answers {status}: {body}");
    }
    println!("{body}");
    Ok(())
}

/// Where a hub that listens everywhere is reached from here.
fn reachable(host: IpAddr) -> IpAddr {
    match host {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        address => address,
    }
}

/// HTTP/1.0, so that the end of the connection is the end of the answer.
async fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_that_listens_everywhere_is_asked_on_this_machine() {
        for (host, asked) in [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("192.0.2.1", "192.0.2.1")] {
            assert_eq!(reachable(host.parse().expect("an address")).to_string(), asked);
        }
    }
}

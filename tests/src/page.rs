//! The metrics page of a server, as a scraper reads it.
//!
//! Owns finding one figure on it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::site::Ports;

/// How long a page may take.
const PAGE_MAX: Duration = Duration::from_secs(5);

/// Figure `name`, the sum of its lines that hold every text of `labels` (`port="main"`).
///
/// # Errors
/// There is no page, or no such line.
pub async fn figure(ports: Ports, name: &str, labels: &[&str]) -> Result<f64> {
    let read = async {
        let mut stream = TcpStream::connect(("127.0.0.1", ports.metrics)).await?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").await?;
        let mut page = String::new();
        stream.read_to_string(&mut page).await?;
        std::io::Result::Ok(page)
    };
    let page = timeout(PAGE_MAX, read).await.context("the metrics page takes too long")?.context("no metrics page")?;
    let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
    let lines = page.lines().filter(of_name).filter(|line| labels.iter().all(|label| line.contains(label)));
    let (mut found, mut sum) = (false, 0.0);
    for line in lines {
        let number = line.rsplit(' ').next().and_then(|word| word.parse::<f64>().ok());
        sum += number.with_context(|| format!("no number: {line}"))?;
        found = true;
    }
    ensure!(found, "no {name} with {labels:?} on the metrics page");
    Ok(sum)
}

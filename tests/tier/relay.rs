//! The way to a server, which can be cut.
//!
//! Owns a port that passes on to another one. It knows nothing of what is said.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What becomes of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// They reach the server.
    Open,
    /// They are taken and nothing is ever said on them.
    Silent,
    /// They end at once.
    Refusing,
}

/// A port that passes on to a server; dropping it closes it.
pub(crate) struct Relay {
    pub(crate) port: u16,
    way: watch::Sender<Way>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Passes on to a port of this machine.
    pub(crate) async fn start(to: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no port for a relay")?;
        let port = listener.local_addr()?.port();
        let (way, ways) = watch::channel(Way::Open);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(pass(stream, to, ways.clone()));
            }
        });
        Ok(Self { port, way, task })
    }

    /// From now on, for connections that are there too.
    pub(crate) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Passes a connection on until it ends or the way changes; what it carries is cut off wherever it is then.
async fn pass(mut stream: TcpStream, to: u16, mut ways: watch::Receiver<Way>) {
    let way = *ways.borrow_and_update();
    let passed = async {
        match way {
            // Both ends are the test's; a connection that fails ends.
            Way::Open => {
                if let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await {
                    let _ = copy_bidirectional(&mut stream, &mut server).await;
                }
            }
            Way::Silent => std::future::pending().await,
            Way::Refusing => {}
        }
    };
    tokio::select! {
        () = passed => {}
        _ = ways.changed() => {}
    }
}

//! The signals that end a server.

use std::future::Future;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::exit::{Exit, OrFail, Outcome};

/// Listens for SIGTERM and SIGINT from the call on; what it gives waits for one of them and tells its name.
pub(crate) fn asked_to_stop() -> Outcome<impl Future<Output = &'static str> + Send + 'static> {
    let mut term = signal(SignalKind::terminate()).or_fail_with(Exit::CannotStart, "SIGTERM cannot be listened for")?;
    let mut int = signal(SignalKind::interrupt()).or_fail_with(Exit::CannotStart, "SIGINT cannot be listened for")?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => "SIGTERM",
            _ = int.recv() => "SIGINT",
        }
    })
}

/// A stop that many can wait for. Dropping it rings too.
#[derive(Debug)]
pub(crate) struct Bell(watch::Sender<bool>);

impl Bell {
    pub(crate) fn new() -> Self {
        Self(watch::channel(false).0)
    }

    pub(crate) fn ring(&self) {
        self.0.send_replace(true);
    }

    /// Ready when the bell rings, or rang before.
    pub(crate) fn rung(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut bell = self.0.subscribe();
        async move {
            let _ = bell.wait_for(|rung| *rung).await;
        }
    }
}

//! An S3 server of this process over a folder, which checks signatures, and can be stopped and started again.

use std::path::Path;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

pub(crate) const KEY: &str = "AKIASTRATATEST";
pub(crate) const SECRET: &str = "kept-from-every-error";
/// The bucket's name.
pub(crate) const BUCKET: &str = "tier";

/// A server that runs until it is stopped or dropped.
pub(crate) struct Server {
    pub(crate) port: u16,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves a folder; port 0 is any that is free.
    pub(crate) async fn start(folder: &Path, port: u16) -> Self {
        std::fs::create_dir_all(folder.join(BUCKET)).unwrap();
        let mut builder = S3ServiceBuilder::new(FileSystem::new(folder).unwrap());
        builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        Self { port, task: tokio::spawn(accept(listener, builder.build())) }
    }

    /// Ends all connections, whatever they are about.
    pub(crate) async fn stop(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    /// What a client is opened with.
    pub(crate) fn options(&self, key: &str, secret: &str) -> Vec<(String, String)> {
        let endpoint = format!("http://127.0.0.1:{}", self.port);
        let all = [
            ("AWS_ENDPOINT", endpoint.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", key),
            ("AWS_SECRET_ACCESS_KEY", secret),
        ];
        all.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }
}

async fn accept(listener: TcpListener, service: S3Service) {
    // Ends with this task, and its connections with it.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        // Else each answer waits for a delayed acknowledgement.
        stream.set_nodelay(true).unwrap();
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service.clone());
        connections.spawn(async move {
            // A client that goes away is none of the server's business.
            let _ = connection.await;
        });
    }
}

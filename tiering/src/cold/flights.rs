//! What several readers want at once is made once.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;

type Flight<V> = Shared<BoxFuture<'static, V>>;

/// Makings under way, by what is made.
pub(super) struct Flights<K, V: Clone> {
    under_way: Arc<Mutex<HashMap<K, Flight<V>>>>,
}

impl<K: Hash + Eq + Clone + Send + 'static, V: Clone + Send + Sync + 'static> Flights<K, V> {
    pub(super) fn new() -> Self {
        Self { under_way: Arc::new(Mutex::new(HashMap::new())) }
    }

    /// Joins the making of `key`, or begins it. It runs in a task of its own, so that a reader that goes away does not
    /// break it off for the others.
    pub(super) async fn join(
        &self,
        key: K,
        broken: impl FnOnce(String) -> V + Send + 'static,
        make: impl FnOnce() -> BoxFuture<'static, V>,
    ) -> V {
        let flight = {
            let mut under_way = self.under_way.lock();
            if let Some(flight) = under_way.get(&key) {
                flight.clone()
            } else {
                let (made, all, own) = (make(), Arc::clone(&self.under_way), key.clone());
                let task = tokio::spawn(async move {
                    let value = made.await;
                    all.lock().remove(&own);
                    value
                });
                let (all, own) = (Arc::clone(&self.under_way), key.clone());
                let ended = task.map(move |ended| {
                    ended.unwrap_or_else(|error| {
                        all.lock().remove(&own);
                        broken(error.to_string())
                    })
                });
                let flight = ended.boxed().shared();
                under_way.insert(key, flight.clone());
                flight
            }
        };
        flight.await
    }
}

/// A future of a making.
pub(super) fn boxed<V>(made: impl Future<Output = V> + Send + 'static) -> BoxFuture<'static, V> {
    made.boxed()
}

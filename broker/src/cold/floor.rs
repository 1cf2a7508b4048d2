//! Where queues begin in the tier, known without waiting.

use std::collections::HashMap;
use std::sync::Arc;

use strata_tiering::cold::ColdError;
use strata_tiering::index::Index;
use strata_tiering::manifest::Manifest;
use strata_tiering::tier::Tier;

/// Where queues begin, by one manifest.
pub(super) struct Floor {
    manifest: Arc<Manifest>,
    /// Of the oldest roll.
    index: Option<Arc<Index>>,
    /// Topics that have expired in rolls that others need.
    expired: HashMap<String, Arc<Begins>>,
}

/// Where the queues of one topic begin.
struct Begins {
    /// The index that tells it, of the first roll that has the topic still.
    told_by: Box<str>,
    /// Ids, ascending, and first offsets.
    queues: Vec<(i32, i64)>,
}

impl Floor {
    /// Looks at the manifest of now; what was found `before` and is the same is taken over.
    pub(super) async fn look(tier: &Tier, before: Option<&Self>) -> Result<Self, ColdError> {
        let manifest = tier.manifest();
        let index = match manifest.rolls().first() {
            Some(roll) => Some(tier.cold().index(roll).await?),
            None => None,
        };
        if let Some(last) = manifest.rolls().last() {
            // Searches for an offset begin with the two at the ends, which are in memory then. Who needs it and cannot read
            // it is told.
            let _ = tier.cold().index(last).await;
        }
        let mut expired = HashMap::new();
        for topic in manifest.expired().keys() {
            let floor = manifest.floor_of(topic);
            let at = manifest.rolls().partition_point(|roll| roll.to <= floor);
            let Some(roll) = manifest.rolls().get(at) else { continue };
            let known = before.and_then(|before| before.expired.get(topic));
            let begins = match known.filter(|known| known.told_by == roll.index.name) {
                Some(known) => Arc::clone(known),
                None => {
                    // Only numbers are kept of the index: there may be as many of them as rolls.
                    let index = tier.cold().index(roll).await?;
                    let queues = index.queues_of(topic).map(|(queue_id, span)| (queue_id, span.base)).collect();
                    Arc::new(Begins { told_by: roll.index.name.clone(), queues })
                }
            };
            expired.insert(topic.clone(), begins);
        }
        Ok(Self { manifest, index, expired })
    }

    /// Whether it was looked up in this manifest.
    pub(super) fn is_of(&self, manifest: &Arc<Manifest>) -> bool {
        Arc::ptr_eq(&self.manifest, manifest)
    }

    /// The queue's first offset in the tier; `None` when the tier has nothing of anybody, or nothing of the topic.
    pub(super) fn begin(&self, topic: &str, queue_id: i32) -> Option<i64> {
        let (index, first) = (self.index.as_ref()?, self.manifest.rolls().first()?);
        let floor = self.manifest.floor_of(topic);
        if floor < first.to {
            // A queue that the oldest roll does not know began later.
            return Some(index.find(topic, queue_id).map_or(0, |span| span.base));
        }
        if self.manifest.dropped().get(topic) == Some(&floor) {
            // Its present life began behind the oldest roll, at offset 0.
            return Some(0);
        }
        // When nothing of what has expired is left here, the log tells.
        let begins = &self.expired.get(topic)?.queues;
        let found = begins.binary_search_by_key(&queue_id, |(id, _)| *id);
        Some(found.ok().and_then(|at| begins.get(at)).map_or(0, |(_, base)| *base))
    }
}

//! `strata tier gc`: a running broker's tier is put in order now.

use serde::{Deserialize, Serialize};
use strata_protocol::code::request as code;
use strata_protocol::request::TierGc;

use super::GcArgs;
use super::running::{connect, wait_for};
use crate::cluster::{Cluster, Master, command, document};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{number, show, table, text};

/// What came of it at one broker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Collected {
    broker: String,
    dry_run: bool,
    grace_seconds: u64,
    expired_rolls: u64,
    expired_topics: u64,
    merges: u64,
    deleted_objects: u64,
    deleted_bytes: u64,
    waiting_objects: u64,
    waiting_bytes: u64,
    unknown_objects: u64,
    failure: Option<String>,
}

/// Runs `strata tier gc`.
pub(super) async fn run(args: GcArgs) -> Outcome {
    let (mut cluster, masters) = connect(&args.running.cluster, &args.running.brokers).await?;
    let mut all = Vec::new();
    for master in &masters {
        all.push(collect(&mut cluster, master, &args).await?);
    }
    show(&args.running.output, &all, |all| {
        let deleted = if args.dry_run { "WOULD DELETE" } else { "DELETED" };
        let columns = [
            text("BROKER"),
            number("EXPIRED ROLLS"),
            number("MERGES"),
            number(deleted),
            number("BYTES"),
            number("WAITING"),
            number("BYTES"),
        ];
        let row = |one: &Collected| {
            [
                one.broker.clone(),
                one.expired_rolls.to_string(),
                one.merges.to_string(),
                one.deleted_objects.to_string(),
                one.deleted_bytes.to_string(),
                one.waiting_objects.to_string(),
                one.waiting_bytes.to_string(),
            ]
        };
        table(&columns, all.iter().map(row))
    })?;
    match all.iter().find_map(|one| one.failure.as_ref().map(|failure| (&one.broker, failure))) {
        Some((broker, failure)) => {
            Err(Failure::new(Exit::Refused, format!("broker {broker} did not come to the end: {failure}")))
        }
        None => Ok(()),
    }
}

async fn collect(cluster: &mut Cluster, master: &Master, args: &GcArgs) -> Outcome<Collected> {
    let request = TierGc { dry_run: Some(args.dry_run), grace_seconds: args.grace };
    document(&wait_for(cluster, master, command(code::TIER_GC, &request)).await?)
}

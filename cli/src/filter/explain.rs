//! `strata filter explain`: one expression, part by part, on one message.
//!
//! Owns the flags and what is found out; how it is shown is in `show`.

use clap::Args;
use strata_filter::sql::{Expression, Refusal, explain};
use strata_protocol::properties;

use super::DialectName;
use super::message;
use super::show::{self, Document, Judged};
use crate::args::{ClusterArgs, OutputArgs};
use crate::exit::{Exit, Failure, OrFail, Outcome};
use crate::output::show as print;
use crate::produce::parse_property;

pub(super) const HELP: &str = "\
Examples:
  strata filter explain \"region = 'eu' AND amount > 10\"      how it is read
  strata filter explain \"amount > 10\" --properties region=eu amount=12.5
  strata filter explain \"NOT a = 'x'\" --dialect strict --properties a=y
  strata filter explain \"TAGS = 'A'\" --message 7F00000100002A9F0000000000000000
  strata filter explain \"TAGS = 'A'\" --message 7F0000010B5C4E25154F1D2A3C4D0001 --topic orders

A broker delivers a message when the expression is TRUE. NULL is neither true nor false: mostly a
property is missing. ERROR is what Apache RocketMQ throws an exception at, such as text that is
compared as a number. Where the other dialect says something else, that is told too. An expression
that begins with - stands last, behind --.

The id of --message is the one with the broker's address and position (offsetMessageId of strata
consume --output json, offsetMsgId in Java) or, with --topic, the one that the producer was told.

Exit codes: 0 explained, whatever the verdict; 2 the expression does not compile; 3 a server cannot
be reached; 4 there is no such message.";

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The expression
    #[arg(value_name = "EXPR")]
    expression: String,
    /// How it is read
    #[arg(long, value_enum, default_value_t = DialectName::Sql92)]
    dialect: DialectName,
    /// Properties of a message
    #[arg(short, long, value_name = "K=V", num_args = 1.., value_parser = parse_property)]
    properties: Vec<(String, String)>,
    /// Id of a stored message
    #[arg(short, long, value_name = "ID", conflicts_with = "properties")]
    message: Option<String>,
    /// Topic of that message, when ID is the one that the producer was told
    #[arg(long, value_name = "TOPIC", requires = "message")]
    topic: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs the command.
pub(super) async fn run(args: ExplainArgs) -> Outcome {
    let message = message_of(&args).await?;
    let stored = message.as_ref().map(|(_, properties)| properties.as_slice());
    let compile = |dialect: DialectName| Expression::compile(dialect.dialect(), &args.expression);
    let (this, other) = (args.dialect, args.dialect.other());
    let (compiled, otherwise) = (compile(this), compile(other));
    let (this, other) = (Judged::of(this, &compiled, stored), Judged::of(other, &otherwise, stored));
    let compiled = compiled.ok();
    let explained = compiled.as_ref().map(|compiled| explain(compiled, stored.unwrap_or_default()));
    let mut document = Document::new(&args.expression, &this, explained.as_ref());
    if let Some((place, properties)) = &message {
        document.on(place.as_deref(), properties, compiled.as_ref());
    }
    if this.differs(&other) {
        document.differs(&other);
    }
    print(&args.output, &document, show::text)?;
    this.refused.as_ref().map_or(Ok(()), |refused: &Refusal| Err(Failure::new(Exit::Usage, refused)))
}

/// The properties that the expression is asked about, and where they were found; `None` when there are none.
async fn message_of(args: &ExplainArgs) -> Outcome<Option<(Option<String>, Vec<u8>)>> {
    if let Some(id) = &args.message {
        let found = message::find(id, args.topic.as_deref(), &args.cluster).await?;
        return Ok(Some((Some(found.place), found.properties)));
    }
    if args.properties.is_empty() {
        return Ok(None);
    }
    let mut stored = Vec::new();
    for (name, value) in &args.properties {
        properties::append(&mut stored, name, value).or_fail(Exit::Usage)?;
    }
    Ok(Some((None, stored)))
}

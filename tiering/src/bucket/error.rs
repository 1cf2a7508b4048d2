//! What goes wrong with a store, in words that carry no credentials.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use crate::limits::ERROR_BYTES_MAX;

/// The calls that a bucket makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Puts an object where none may be.
    Create,
    /// Puts an object, whatever is there.
    Put,
    /// Puts an object in parts.
    Upload,
    /// Reads bytes.
    Read,
    /// Asks for a size.
    Size,
    /// Deletes.
    Delete,
    /// Lists names.
    List,
}

impl Call {
    /// All of them, in the order of their figures.
    pub const ALL: [Self; 7] =
        [Self::Create, Self::Put, Self::Upload, Self::Read, Self::Size, Self::Delete, Self::List];

    /// Its word, also for labels of figures.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Put => "put",
            Self::Upload => "upload",
            Self::Read => "read",
            Self::Size => "size",
            Self::Delete => "delete",
            Self::List => "list",
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Why a call of a bucket failed. After any error of a call that changes something it is unknown whether it did.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BucketError {
    /// The URL names no place for a tier.
    #[error("{url:?} is no place for a tier: {what}")]
    Location {
        /// The URL without what may be secret.
        url: String,
        /// What is wrong with it.
        what: String,
    },
    /// The store's client cannot be made.
    #[error("the store at {location} cannot be opened: {what}; check the options given for it")]
    Options {
        /// Where it is.
        location: String,
        /// What its client says.
        what: String,
    },
    /// A name that no store takes.
    #[error("{path:?} cannot be the name of an object: {what}")]
    Name {
        /// The name.
        path: String,
        /// Why not.
        what: String,
    },
    /// There is no such object, or no such bucket.
    #[error("the store has no {path}")]
    Missing {
        /// The object.
        path: String,
    },
    /// The store knows the caller not, or does not let it.
    #[error("the store does not let us {call} {path}: {what}; check the credentials, their rights and the clock")]
    Denied {
        /// What was tried.
        call: Call,
        /// On what.
        path: String,
        /// What the store says.
        what: String,
    },
    /// The store cannot do such a thing.
    #[error("the store cannot {call} {path}: {what}")]
    Unsupported {
        /// What was tried.
        call: Call,
        /// On what.
        path: String,
        /// What the store says.
        what: String,
    },
    /// It failed as often as it may.
    #[error("could not {call} {path} in {tries} attempts; the last one: {what}")]
    Failed {
        /// What was tried.
        call: Call,
        /// On what.
        path: String,
        /// How often.
        tries: u32,
        /// How the last attempt ended.
        what: String,
    },
    /// Nothing is sent, because nothing has succeeded for some time.
    #[error("the store has been down for {} s and is asked again now and then; its last error: {last}", since.as_secs())]
    Down {
        /// How long ago it was given up.
        since: Duration,
        /// How the last attempt ended.
        last: String,
    },
    /// The bucket was closed: the process ends.
    #[error("the store is not asked any more, since the broker stops")]
    Closed,
    /// More bytes than an object may have.
    #[error("{path} has {bytes} bytes, an object of the tier has {max} at most")]
    TooLarge {
        /// The object.
        path: String,
        /// Its bytes.
        bytes: u64,
        /// The bound.
        max: u64,
    },
}

/// The words of a store's error and of what caused it, short and without what may be secret: the queries of URLs hold
/// signatures, and the XML of a refusal repeats what was signed.
pub(super) fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    let text = without_queries(&without_xml(&text));
    let end = text.floor_char_boundary(ERROR_BYTES_MAX.min(text.len()));
    text[..end].to_owned()
}

/// Keeps code and message of an XML error.
fn without_xml(text: &str) -> String {
    let Some(at) = text.find("<?xml").or_else(|| text.find("<Error")) else { return text.to_owned() };
    let (before, xml) = text.split_at(at);
    let inner = |tag: &str| {
        let after = xml.split_once(&format!("<{tag}>"))?.1;
        Some(after.split_once("</")?.0)
    };
    let parts = [Some(before.trim_end()), inner("Code"), inner("Message")];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// Drops the queries of the URLs in a text.
fn without_queries(text: &str) -> String {
    let strip = |word: &str| match word.split_once('?') {
        Some((url, _)) if url.contains("://") => url.to_owned(),
        _ => word.to_owned(),
    };
    text.split_whitespace().map(strip).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_cut_out_of_errors() {
        let xml = "Error performing PUT https://a/b?sig=SECRET in 3ms - 403 Forbidden: <?xml version=\"1.0\"?><Error>\
            <Code>SignatureDoesNotMatch</Code><Message>No match.</Message><AWSAccessKeyId>KEY</AWSAccessKeyId></Error>";
        let said = words(&std::io::Error::other(xml));
        assert_eq!(said, "Error performing PUT https://a/b in 3ms - 403 Forbidden: SignatureDoesNotMatch No match.");
        assert_eq!(words(&std::io::Error::other("ö".repeat(1000))).len(), ERROR_BYTES_MAX);
    }
}

//! A frame's meaning: one request or one response, decoded from and encoded to bytes.

use bytes::{Buf, Bytes};
use thiserror::Error;

use crate::fields::Fields;
use crate::frame::{self, FrameError, HeaderCodec};
use crate::header::{self, Head, HeaderError, Sink};

/// Bit of `flag` that marks a response (`RemotingCommand.RPC_TYPE`).
pub const FLAG_RESPONSE: i32 = 1;
/// Bit of `flag` that marks a request whose sender ignores any answer (`RemotingCommand.RPC_ONEWAY`).
pub const FLAG_ONEWAY: i32 = 2;

/// The version ordinal that Strata reports: RocketMQ 5.3.3. Consumers with SQL92 filters want at least 4.1.0.
pub const VERSION: i32 = 479;

/// The program's language of a peer (`LanguageCode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Language(pub u8);

const LANGUAGES: [&str; 14] = [
    "JAVA", "CPP", "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY", "OTHER", "HTTP", "GO", "PHP", "OMS", "RUST",
    "NODE_JS",
];

impl Language {
    /// What Strata calls itself: 4.x clients know neither RUST nor an unknown name.
    pub const JAVA: Self = Self(0);
    /// A peer whose language has no number here.
    pub const OTHER: Self = Self(7);

    /// The name in JSON headers; unknown numbers are `OTHER`.
    #[must_use]
    pub fn name(self) -> &'static str {
        LANGUAGES.get(usize::from(self.0)).copied().unwrap_or("OTHER")
    }

    /// The number of a name; a name that is not in RocketMQ's list is [`Language::OTHER`].
    #[must_use]
    pub fn of(name: &str) -> Self {
        (0u8..).zip(LANGUAGES).find(|(_, known)| *known == name).map_or(Self::OTHER, |(number, _)| Self(number))
    }
}

/// One request or response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Request code, or response code when [`Command::is_response`].
    pub code: i32,
    /// The sender's language.
    pub language: Language,
    /// The sender's version ordinal (`MQVersion`).
    pub version: i32,
    /// Matches a response with its request; chosen by the requester.
    pub opaque: i32,
    /// [`FLAG_RESPONSE`] and [`FLAG_ONEWAY`].
    pub flag: i32,
    /// Text for people, mostly the reason of a refusal.
    pub remark: Option<String>,
    /// The request's or response's own header.
    pub fields: Fields,
    /// What follows the header: a message, JSON, or nothing.
    pub body: Bytes,
    /// How the header was or will be written; an answer uses the codec of its request.
    pub codec: HeaderCodec,
}

/// Why a frame is not a command. The connection ends after any of them, as RocketMQ's does.
#[derive(Debug, Error)]
pub enum Malformed {
    /// The frame itself is wrong.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The header cannot be read.
    #[error(transparent)]
    Header(#[from] HeaderError),
}

impl Command {
    /// A request with `code`, no fields and no body. The connection chooses `opaque`.
    #[must_use]
    pub fn request(code: i32) -> Self {
        Self {
            code,
            language: Language::JAVA,
            version: VERSION,
            opaque: 0,
            flag: 0,
            remark: None,
            fields: Fields::new(),
            body: Bytes::new(),
            codec: HeaderCodec::Json,
        }
    }

    /// Reads a whole frame, its length prefix included, as [`frame::check`] found it. Fields and body are
    /// slices of `bytes`.
    ///
    /// # Errors
    /// See [`Malformed`].
    pub fn decode(mut bytes: Bytes) -> Result<Self, Malformed> {
        let (Some(word), length) = (bytes.get(4..8), bytes.len()) else {
            return Err(FrameError::TooShort { length: -1 }.into());
        };
        let (codec, header_bytes) = frame::header_word([word[0], word[1], word[2], word[3]], length - 4)?;
        let body = bytes.split_off(8 + header_bytes);
        bytes.advance(8);
        let header = bytes;
        let (head, remark, fields) = match codec {
            HeaderCodec::Json => header::read_json(header)?,
            HeaderCodec::Binary => header::read_binary(header)?,
        };
        Ok(Self {
            code: head.code,
            language: head.language,
            version: head.version,
            opaque: head.opaque,
            flag: head.flag,
            remark,
            fields,
            body,
            codec,
        })
    }

    /// Appends the whole frame to `out`.
    pub fn encode(&self, out: &mut impl Sink) {
        let start = out.len();
        out.put_u64(0);
        let head = Head {
            code: self.code,
            language: self.language,
            version: self.version,
            opaque: self.opaque,
            flag: self.flag,
        };
        let mut writer = header::Writer::begin(out, self.codec, head, self.remark.as_deref());
        for (name, value) in self.fields.iter() {
            writer.any_text(name, value);
        }
        writer.end();
        header::patch_prefix(out, start, self.codec, self.body.len());
        out.put_slice(&self.body);
    }

    /// Whether this answers a request.
    #[must_use]
    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    /// Whether the sender ignores any answer; a server must not send one.
    #[must_use]
    pub fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }
}

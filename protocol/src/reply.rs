//! What a server says to one request: code, remark, a few fields, and body slices that are not copied.

use std::borrow::Cow;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::code::ResponseCode;
use crate::command::{FLAG_RESPONSE, Language, VERSION};
use crate::frame::HeaderCodec;
use crate::header::{self, Head, Sink};

/// Fields that are kept without an allocation: answers to sends and pulls have six.
const INLINE_FIELDS: usize = 6;

/// What the texts of an answer take at first: two ids and a name.
const TEXT_BYTES: usize = 128;

/// A field's value; numbers are written without a detour over text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    Int(i64),
    Bool(bool),
    /// A text, from one place of [`Reply::texts`] to another.
    Text(usize, usize),
}

/// An answer before it is bound to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// What became of the request.
    pub code: ResponseCode,
    /// Text for people; clients show it beside the code.
    pub remark: Option<Cow<'static, str>>,
    /// The response header.
    fields: SmallVec<[(&'static str, Value); INLINE_FIELDS]>,
    /// The texts of the header, one behind the other: one allocation for all of them.
    texts: String,
    /// The body in pieces, sent in this order.
    pub body: SmallVec<[Bytes; 1]>,
}

impl Reply {
    /// An answer with `code` alone.
    #[must_use]
    #[inline]
    pub fn new(code: ResponseCode) -> Self {
        Self { code, remark: None, fields: SmallVec::new(), texts: String::new(), body: SmallVec::new() }
    }

    /// Success without more.
    #[must_use]
    #[inline]
    pub fn success() -> Self {
        Self::new(ResponseCode::Success)
    }

    /// A refusal and its reason.
    #[must_use]
    pub fn refusal(code: ResponseCode, remark: impl Into<Cow<'static, str>>) -> Self {
        Self { remark: Some(remark.into()), ..Self::new(code) }
    }

    /// Success with a body.
    #[must_use]
    pub fn with_body(body: impl Into<Bytes>) -> Self {
        let mut reply = Self::success();
        reply.body.push(body.into());
        reply
    }

    /// Adds a remark.
    #[must_use]
    #[inline]
    pub fn remark(mut self, remark: impl Into<Cow<'static, str>>) -> Self {
        self.remark = Some(remark.into());
        self
    }

    /// Adds a number.
    #[must_use]
    #[inline]
    pub fn int(mut self, name: &'static str, value: impl Into<i64>) -> Self {
        self.fields.push((name, Value::Int(value.into())));
        self
    }

    /// Adds a truth value.
    #[must_use]
    #[inline]
    pub fn flag(mut self, name: &'static str, value: bool) -> Self {
        self.fields.push((name, Value::Bool(value)));
        self
    }

    /// Adds a text, which is copied.
    #[must_use]
    #[inline]
    pub fn text(mut self, name: &'static str, value: impl AsRef<str>) -> Self {
        let value = value.as_ref();
        let start = self.texts.len();
        if self.texts.capacity() == 0 {
            self.texts = String::with_capacity(TEXT_BYTES);
        }
        self.texts.push_str(value);
        self.fields.push((name, Value::Text(start, self.texts.len())));
        self
    }

    /// Bytes of the body.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        self.body.iter().map(Bytes::len).sum()
    }

    /// Appends prefix and header of the frame that answers request `opaque`; the body's slices must
    /// follow it on the wire.
    pub fn encode_header(&self, out: &mut impl Sink, opaque: i32, codec: HeaderCodec) {
        let start = out.len();
        out.put_u64(0);
        let head =
            Head { code: self.code.wire(), language: Language::JAVA, version: VERSION, opaque, flag: FLAG_RESPONSE };
        let mut writer = header::Writer::begin(out, codec, head, self.remark.as_deref());
        for (name, value) in &self.fields {
            match value {
                Value::Int(number) => writer.int(name, *number),
                Value::Bool(true) => writer.text(name, "true"),
                Value::Bool(false) => writer.text(name, "false"),
                Value::Text(start, end) => writer.text(name, self.texts.get(*start..*end).unwrap_or_default()),
            }
        }
        writer.end();
        header::patch_prefix(out, start, codec, self.body_bytes());
    }
}

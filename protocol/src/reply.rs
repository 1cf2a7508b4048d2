//! What a server says to one request: code, remark, a few fields, and body slices that are not copied.

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};
use smallvec::SmallVec;

use crate::code::ResponseCode;
use crate::command::{FLAG_RESPONSE, Language, VERSION};
use crate::frame::HeaderCodec;
use crate::header::{self, Head};

/// A field's value; numbers are written without a detour over text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A whole number.
    Int(i64),
    /// `true` or `false`.
    Bool(bool),
    /// Any text.
    Text(Cow<'static, str>),
}

/// An answer before it is bound to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// What became of the request.
    pub code: ResponseCode,
    /// Text for people; clients show it beside the code.
    pub remark: Option<Cow<'static, str>>,
    /// The response header.
    pub fields: SmallVec<[(&'static str, Value); 8]>,
    /// The body in pieces, sent in this order.
    pub body: SmallVec<[Bytes; 1]>,
}

impl Reply {
    /// An answer with `code` alone.
    #[must_use]
    pub fn new(code: ResponseCode) -> Self {
        Self { code, remark: None, fields: SmallVec::new(), body: SmallVec::new() }
    }

    /// Success without more.
    #[must_use]
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
    pub fn remark(mut self, remark: impl Into<Cow<'static, str>>) -> Self {
        self.remark = Some(remark.into());
        self
    }

    /// Adds a number.
    #[must_use]
    pub fn int(mut self, name: &'static str, value: impl Into<i64>) -> Self {
        self.fields.push((name, Value::Int(value.into())));
        self
    }

    /// Adds a truth value.
    #[must_use]
    pub fn flag(mut self, name: &'static str, value: bool) -> Self {
        self.fields.push((name, Value::Bool(value)));
        self
    }

    /// Adds a text.
    #[must_use]
    pub fn text(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.fields.push((name, Value::Text(value.into())));
        self
    }

    /// Bytes of the body.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        self.body.iter().map(Bytes::len).sum()
    }

    /// Appends prefix and header of the frame that answers request `opaque`; the body's slices must
    /// follow it on the wire.
    pub fn encode_header(&self, out: &mut BytesMut, opaque: i32, codec: HeaderCodec) {
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
                Value::Text(text) => writer.text(name, text),
            }
        }
        writer.end();
        header::patch_prefix(out, start, codec, self.body_bytes());
    }
}

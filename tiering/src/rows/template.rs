//! Templates: the names of a record's properties in their order, each with the column that its value lies in.
//!
//! Owns the bytes of `property_names`, and how a properties text is taken apart. Producers write the same names in the
//! same order again and again, so a text is first read as the last ones were, which takes no search for names.

use std::collections::HashMap;

use memchr::memchr2;
use strata_protocol::properties::{KEYS, NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR, TAGS, UNIQ_KEY};

use super::place::{IN_COLUMN, IN_REST, Place};

/// Templates that are remembered. Producers that make up names for each message would fill memory otherwise.
const KNOWN_MAX: usize = 64;

#[derive(Debug)]
struct Entry {
    /// The name and the separator behind it.
    lead: String,
    place: Place,
}

/// One order of names, and where their values go.
#[derive(Debug)]
struct Template {
    entries: Vec<Entry>,
    bytes: Vec<u8>,
    /// Whether the text ends with a separator.
    closed: bool,
}

impl Template {
    /// Takes `text` apart if it has these names and its values go to these places.
    #[inline]
    fn read(&self, text: &[u8], values: &mut Vec<(usize, usize)>) -> bool {
        values.clear();
        if self.entries.is_empty() {
            return text.is_empty();
        }
        let mut at = 0;
        for entry in &self.entries {
            let lead = entry.lead.as_bytes();
            let Some(rest) = text.get(at..).and_then(|rest| rest.strip_prefix(lead)) else { return false };
            let found = memchr2(NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR, rest);
            let (value, after) = rest.split_at(found.unwrap_or(rest.len()));
            if after.first() == Some(&NAME_VALUE_SEPARATOR) || !entry.place.takes(value) {
                return false;
            }
            let from = at + lead.len();
            let end = from + value.len();
            values.push((from, end));
            at = end + 1;
        }
        at == if self.closed { text.len() } else { text.len() + 1 }
    }
}

/// Takes properties texts apart, with the templates that were met before.
#[derive(Debug)]
pub(super) struct Templates {
    columns: Vec<String>,
    known: Vec<Template>,
    by_bytes: HashMap<Vec<u8>, usize>,
    /// The template of the text before, and the other one that was used last.
    recent: [usize; 2],
    /// Where the values of the text lie.
    values: Vec<(usize, usize)>,
    /// The text before it is known to have a template: names and where their values go.
    draft: Vec<(usize, usize, Place)>,
    bytes: Vec<u8>,
    /// Which of the three names with columns of their own, and behind them of the properties' columns, were met.
    met: Vec<bool>,
}

/// A properties text, taken apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts<'a> {
    template: &'a Template,
    values: &'a [(usize, usize)],
    text: &'a [u8],
}

impl<'a> Parts<'a> {
    /// The template's bytes.
    #[inline]
    pub(super) fn bytes(&self) -> &'a [u8] {
        &self.template.bytes
    }

    /// Name, value and place of each entry.
    #[inline]
    pub(super) fn each(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8], Place)> {
        let text = self.text;
        self.template.entries.iter().zip(self.values).map(move |(entry, (from, end))| {
            let name = entry.lead.as_bytes().get(..entry.lead.len() - 1).unwrap_or_default();
            (name, text.get(*from..*end).unwrap_or_default(), entry.place)
        })
    }
}

impl Templates {
    pub(super) fn new(columns: Vec<String>) -> Self {
        let met = vec![false; columns.len() + 3];
        Self {
            columns,
            known: Vec::new(),
            by_bytes: HashMap::new(),
            recent: [0; 2],
            values: Vec::new(),
            draft: Vec::new(),
            bytes: Vec::new(),
            met,
        }
    }

    /// Takes a text apart; `None` if its template would not give it back.
    #[inline]
    pub(super) fn read<'a>(&'a mut self, text: &'a [u8]) -> Option<Parts<'a>> {
        let text = std::str::from_utf8(text).ok()?;
        let [last, other] = self.recent;
        let mut is_read =
            |at: usize| self.known.get(at).is_some_and(|known| known.read(text.as_bytes(), &mut self.values));
        let at = if is_read(last) {
            last
        } else if is_read(other) {
            other
        } else {
            self.learn(text)?
        };
        if at != last {
            self.recent = [at, last];
        }
        let template = self.known.get(at)?;
        Some(Parts { template, values: &self.values, text: text.as_bytes() })
    }

    /// Takes a text apart that is not like the last ones.
    #[cold]
    fn learn(&mut self, text: &str) -> Option<usize> {
        self.draft(text.as_bytes())?;
        if let Some(at) = self.by_bytes.get(&self.bytes) {
            return Some(*at);
        }
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
            self.by_bytes.clear();
        }
        let mut entries = Vec::with_capacity(self.draft.len());
        for (from, end, place) in &self.draft {
            entries.push(Entry { lead: text.get(*from..*end)?.to_owned(), place: *place });
        }
        let at = self.known.len();
        let closed = self.bytes.first() == Some(&1);
        self.known.push(Template { entries, bytes: self.bytes.clone(), closed });
        self.by_bytes.insert(self.bytes.clone(), at);
        Some(at)
    }

    /// Finds the text's template and values; `None` if it has none.
    fn draft(&mut self, text: &[u8]) -> Option<()> {
        self.draft.clear();
        self.values.clear();
        self.bytes.clear();
        self.met.fill(false);
        self.bytes.push(u8::from(text.last() == Some(&PROPERTY_SEPARATOR)));
        let mut at = 0;
        while at < text.len() {
            let rest = text.get(at..)?;
            let name_end = memchr2(NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR, rest)?;
            let (name, after) = rest.split_at_checked(name_end)?;
            let (separator, after) = after.split_first()?;
            let value_end = memchr2(NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR, after).unwrap_or(after.len());
            let (value, after) = after.split_at_checked(value_end)?;
            // An entry without a name or a separator, or with two of them, is told from no other by its template.
            if name.is_empty() || *separator != NAME_VALUE_SEPARATOR || after.first() == Some(&NAME_VALUE_SEPARATOR) {
                return None;
            }
            let place = self.place(name, value)?;
            self.bytes.push(place.code());
            if matches!(place.code(), IN_REST | IN_COLUMN) {
                self.bytes.extend_from_slice(name);
                self.bytes.push(PROPERTY_SEPARATOR);
            }
            let from = at + name.len() + 1;
            self.draft.push((at, from, place));
            self.values.push((from, from + value.len()));
            at = from + value.len() + 1;
        }
        Some(())
    }

    /// Where an entry's value goes; `None` if the name has a column and was met before.
    fn place(&mut self, name: &[u8], value: &[u8]) -> Option<Place> {
        let (slot, own) = if name == UNIQ_KEY.as_bytes() {
            (0, Place::MsgId)
        } else if name == KEYS.as_bytes() {
            (1, Place::Keys)
        } else if name == TAGS.as_bytes() {
            (2, Place::Tags)
        } else if let Some(column) = self.columns.iter().position(|known| known.as_bytes() == name) {
            (3 + column, Place::Column(column))
        } else {
            return Some(Place::Rest);
        };
        let met = self.met.get_mut(slot)?;
        if std::mem::replace(met, true) {
            return None;
        }
        Some(if own.takes(value) {
            own
        } else if own == Place::Keys {
            Place::KeysRest
        } else {
            Place::EmptyRest
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_golden() {
        let mut templates = Templates::new(vec!["color".to_owned()]);
        let bytes = |templates: &mut Templates, text: &[u8]| templates.read(text).map(|parts| parts.bytes().to_vec());
        let text = b"KEYS\x01a b\x02UNIQ_KEY\x01U\x02x\x01y\x02color\x01red\x02TAGS\x01t\x02";
        assert_eq!(bytes(&mut templates, text).unwrap(), b"\x01\x02\x01\x04x\x02\x05color\x02\x03");
        assert_eq!(bytes(&mut templates, b"").unwrap(), b"\0");
        assert_eq!(bytes(&mut templates, b"a\x01b").unwrap(), b"\0\x04a\x02");
        assert_eq!(bytes(&mut templates, b"color\x01\x02KEYS\x01 a\x02").unwrap(), b"\x01\x04color\x02\x04KEYS\x02");
        for odd in
            [&b"\x02"[..], b"a", b"\x01b\x02", b"a\x01b\x01c\x02", b"a\x01b\x02\x02", b"a\x01b\x02c\x02", b"a\x01\xff"]
        {
            assert_eq!(bytes(&mut templates, odd), None, "{odd:?}");
        }
        assert_eq!(bytes(&mut templates, b"color\x01\x02color\x01red\x02"), None);
        assert!(bytes(&mut templates, b"x\x01\x02x\x01red\x02").is_some());
    }

    #[test]
    fn made_up_names_do_not_stay() {
        let mut templates = Templates::new(Vec::new());
        for number in 0..3 * KNOWN_MAX {
            let text = format!("name{number}\x01value\x02");
            let parts = templates.read(text.as_bytes()).unwrap();
            assert_eq!(parts.each().next().unwrap(), (format!("name{number}").as_bytes(), &b"value"[..], Place::Rest));
        }
        assert!(templates.known.len() <= KNOWN_MAX && templates.by_bytes.len() <= KNOWN_MAX);
    }
}

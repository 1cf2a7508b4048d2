//! What an object of a broker's folder is, by its name alone.

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An edit, a checkpoint or the hint: the manifest's own business.
    Manifest,
    /// What collections keep for themselves.
    Collect,
    /// An index or an object of messages.
    Roll {
        /// The epoch of who made it.
        epoch: u64,
        /// The attempt of that writer.
        attempt: u32,
    },
    /// The broker's settings.
    State {
        /// The epoch of who made it.
        epoch: u64,
        /// Its number among those of that writer.
        number: u64,
    },
    /// Nothing that this program gives such a name.
    Unknown,
}

/// Understands a name in a broker's folder.
pub(super) fn kind_of(name: &str) -> Kind {
    let kind = match name.split_once('/') {
        Some(("manifest", _)) => Some(Kind::Manifest),
        Some(("collect", _)) => Some(Kind::Collect),
        Some(("roll", rest)) => roll(rest),
        Some(("state", rest)) => state(rest),
        _ => None,
    };
    kind.unwrap_or(Kind::Unknown)
}

fn roll(rest: &str) -> Option<Kind> {
    let (folder, object) = rest.split_once('/')?;
    let is_object =
        object == "index" || object.strip_suffix(".parquet").is_some_and(|number| number.parse::<u32>().is_ok());
    let mut parts = folder.split('-');
    let mut next = || parts.next();
    let (from, to, epoch, attempt) = (next()?, next()?, next()?, next()?);
    let is_place = |text: &str| text.len() == 20 && text.parse::<u64>().is_ok();
    let known = is_object && is_place(from) && is_place(to) && next().is_none();
    known.then_some(Kind::Roll { epoch: epoch.parse().ok()?, attempt: attempt.parse().ok()? })
}

fn state(rest: &str) -> Option<Kind> {
    let (epoch, number) = rest.split_once('-')?;
    Some(Kind::State { epoch: epoch.parse().ok()?, number: number.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{index_name, object_name, roll_folder};

    #[test]
    fn names_are_understood_and_others_are_left() {
        let folder = roll_folder(1, 2, 3, 4);
        let roll = Kind::Roll { epoch: 3, attempt: 4 };
        assert_eq!((kind_of(&index_name(&folder)), kind_of(&object_name(&folder, 12_345))), (roll, roll));
        assert_eq!(kind_of("state/3-7"), Kind::State { epoch: 3, number: 7 });
        assert_eq!(kind_of("manifest/hint"), Kind::Manifest);
        for name in ["", "roll", "roll/1-2-3-4/index", "state/3", "state/a-b", "query/x", "roll/x/index"] {
            assert_eq!(kind_of(name), Kind::Unknown, "{name}");
        }
        assert_eq!(kind_of(&format!("{folder}/other")), Kind::Unknown);
        assert_eq!(kind_of(&format!("{folder}-5/index")), Kind::Unknown);
    }
}

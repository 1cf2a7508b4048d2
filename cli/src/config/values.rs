//! Texts of values into values; what is wrong is answered with what is allowed.

use std::borrow::Cow;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

pub(super) fn number<T>(slot: &mut T, text: &str, range: RangeInclusive<T>) -> Result<(), String>
where
    T: FromStr + PartialOrd + Display,
{
    match text.parse::<T>() {
        Ok(value) if range.contains(&value) => {
            *slot = value;
            Ok(())
        }
        Ok(_) | Err(_) => Err(format!("a whole number from {} to {}", range.start(), range.end())),
    }
}

pub(super) fn truth(slot: &mut bool, text: &str) -> Result<(), String> {
    *slot = match text {
        "true" => true,
        "false" => false,
        _ => return Err(String::from("true or false")),
    };
    Ok(())
}

/// A name that goes into routes, records and file names of tools.
pub(super) fn name(slot: &mut String, text: &str) -> Result<(), String> {
    const CHARS_MAX: usize = 127;
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '%' | '|');
    if text.is_empty() || text.len() > CHARS_MAX || !text.chars().all(legal) {
        return Err(format!("1 to {CHARS_MAX} characters out of a-z, A-Z, 0-9, - _ . % |"));
    }
    text.clone_into(slot);
    Ok(())
}

pub(super) fn parsed<T: FromStr>(slot: &mut T, text: &str, allowed: &str) -> Result<(), String> {
    *slot = text.parse().map_err(|_| allowed.to_owned())?;
    Ok(())
}

/// `host:port;host:port`, empty for none.
pub(super) fn addresses(slot: &mut Vec<String>, text: &str) -> Result<(), String> {
    let found: Vec<&str> = text.split(';').map(str::trim).filter(|address| !address.is_empty()).collect();
    if let Some(bad) = found.iter().find(|address| !is_address(address)) {
        return Err(format!("host:port of each name server, separated by ';', and {bad:?} is not"));
    }
    *slot = found.into_iter().map(str::to_owned).collect();
    Ok(())
}

/// Whether a text is `host:port`.
pub(crate) fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    !host.is_empty() && !host.contains(char::is_whitespace) && port.parse::<u16>().is_ok_and(|port| port != 0)
}

/// A value as it may be told: secret keys and passwords are not, nor what URLs hold beside the place.
pub(super) fn without_secrets<'a>(key: &str, value: &'a str) -> Cow<'a, str> {
    let key = key.to_ascii_lowercase();
    let is_secret = ["secret", "password", "accesskey", "credential"].iter().any(|word| key.contains(word));
    if is_secret && !value.is_empty() {
        return Cow::Borrowed("(not shown)");
    }
    let Some((scheme, rest)) = value.split_once("://") else { return Cow::Borrowed(value) };
    let place = rest.split(['?', '#']).next().unwrap_or_default();
    // Passwords may hold slashes where nobody wrote them as they should be: what is before the last @ is not told.
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    if place == rest { Cow::Borrowed(value) } else { Cow::Owned(format!("{scheme}://{place}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_told() {
        let told = |key, value| without_secrets(key, value).into_owned();
        assert_eq!(told("tieredStoreUrl", "s3://K:S/e@b/p?sig=x#y"), "s3://b/p");
        assert_eq!(told("tieredStoreUrl", "s3://b/p"), "s3://b/p");
        assert_eq!(told("objectStoreSecretKey", "S"), "(not shown)");
        assert_eq!(told("brokerName", "a@b"), "a@b");
    }

    #[test]
    fn what_is_allowed_is_said() {
        let mut port = 1u16;
        assert_eq!(number(&mut port, "70000", 0..=65535), Err("a whole number from 0 to 65535".into()));
        assert_eq!((number(&mut port, "80", 0..=65535), port), (Ok(()), 80));
        let mut switch = false;
        assert_eq!(truth(&mut switch, "yes"), Err("true or false".into()));
        let mut text = String::new();
        assert!(
            name(&mut text, "a b").is_err() && name(&mut text, "").is_err() && name(&mut text, "broker-a.1").is_ok()
        );
        let mut list = vec![];
        assert_eq!((addresses(&mut list, "a:1; b:2;"), list), (Ok(()), vec!["a:1".to_owned(), "b:2".to_owned()]));
        assert!(addresses(&mut vec![], "a").unwrap_err().contains("\"a\" is not"));
        assert!(!is_address("h:0") && !is_address(":1") && is_address("[::1]:9876"));
    }
}

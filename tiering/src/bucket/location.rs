//! Where a tier is: a URL, understood.

use std::fmt;
use std::path::PathBuf;

use object_store::path::Path;
use url::Url;

use super::BucketError;

/// What kind of store a URL names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Amazon S3 and what speaks like it, with the bucket's name in the URL.
    S3,
    /// Google Cloud Storage.
    Google,
    /// Azure Blob Storage.
    Azure,
    /// A folder of this machine.
    Folder(PathBuf),
    /// Memory of this process.
    Memory,
}

/// A place for a tier: `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`, `file:///folder` or
/// `memory://`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    pub(super) kind: Kind,
    /// The store without the prefix, as clients want it.
    pub(super) url: String,
    /// What stands before every name.
    pub(super) prefix: Path,
}

impl Location {
    /// Understands a URL.
    ///
    /// # Errors
    /// [`BucketError::Location`], also for user names, passwords and queries: credentials belong into the options,
    /// since locations are printed.
    pub fn parse(url: &str) -> Result<Self, BucketError> {
        let parsed = Url::parse(url).map_err(|error| wrong("", &error.to_string()))?;
        let shown = format!("{}://{}{}", parsed.scheme(), parsed.host_str().unwrap_or_default(), parsed.path());
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(wrong(&shown, "it holds credentials; give them as options, a location is printed"));
        }
        if parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(wrong(&shown, "it has a query or a fragment; give options beside it"));
        }
        let kind = match parsed.scheme() {
            "s3" => Kind::S3,
            "gs" => Kind::Google,
            "az" => Kind::Azure,
            "file" => {
                let folder = parsed.to_file_path().map_err(|()| wrong(&shown, "it names no folder of this machine"))?;
                if folder.parent().is_none() {
                    return Err(wrong(&shown, "the root folder is not for a tier"));
                }
                Kind::Folder(folder)
            }
            "memory" => Kind::Memory,
            _ => return Err(wrong(&shown, "known are s3://, gs://, az://, file:/// and memory://")),
        };
        let is_remote = matches!(kind, Kind::S3 | Kind::Google | Kind::Azure);
        let host = parsed.host_str().unwrap_or_default();
        if is_remote && host.is_empty() {
            return Err(wrong(&shown, "it names no bucket"));
        }
        if is_remote && parsed.port().is_some() {
            return Err(wrong(&shown, "it has a port; a server is given as an option, as AWS_ENDPOINT"));
        }
        let prefix = match kind {
            Kind::Folder(_) => Path::default(),
            Kind::S3 | Kind::Google | Kind::Azure | Kind::Memory => {
                Path::from_url_path(parsed.path()).map_err(|error| wrong(&shown, &error.to_string()))?
            }
        };
        Ok(Self { kind, url: format!("{}://{host}", parsed.scheme()), prefix })
    }
}

impl Location {
    /// The folder of this machine that it is.
    #[must_use]
    pub fn folder(&self) -> Option<&std::path::Path> {
        if let Kind::Folder(folder) = &self.kind { Some(folder) } else { None }
    }
}

fn wrong(url: &str, what: &str) -> BucketError {
    BucketError::Location { url: url.to_owned(), what: what.to_owned() }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Folder(folder) => write!(f, "file://{}", folder.display()),
            Kind::S3 | Kind::Google | Kind::Azure | Kind::Memory if self.prefix.as_ref().is_empty() => {
                f.write_str(&self.url)
            }
            Kind::S3 | Kind::Google | Kind::Azure | Kind::Memory => write!(f, "{}/{}", self.url, self.prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_shown_as_they_were_given() {
        for (url, shown) in [
            ("s3://bucket/a/b/", "s3://bucket/a/b"),
            ("s3://bucket", "s3://bucket"),
            ("gs://bucket/p", "gs://bucket/p"),
            ("az://container/p", "az://container/p"),
            ("file:///var/tier", "file:///var/tier"),
            ("memory://", "memory://"),
        ] {
            assert_eq!(Location::parse(url).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_place_is_refused_without_its_secrets() {
        for url in [
            "s3://KEY:SECRET@bucket/p",
            "az://c/p?sig=SECRET",
            "s3:///p",
            "s3://host:9000/bucket",
            "http://host/SECRET",
            "file:///",
            "nothing",
        ] {
            let error = Location::parse(url).unwrap_err();
            assert!(matches!(error, BucketError::Location { .. }));
            assert!(!error.to_string().contains("KEY"), "{error}");
            assert!(!error.to_string().contains("sig="), "{error}");
        }
    }
}

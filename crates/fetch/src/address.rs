//! An address that somebody typed, and the only ones that it may lead to.

use std::fmt;

use ureq::http::Uri;

use crate::error::FetchError;

/// The address of a source on a server. Only its [`Display`](fmt::Display) form, which has no name, password or query, is for people and
/// records.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(Uri);

impl Address {
    /// Whether a text is meant as an address rather than as the name of a file.
    #[must_use]
    pub fn is_one(text: &str) -> bool {
        let starts = |scheme: &str| {
            text.get(..scheme.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        };
        starts("http://") || starts("https://")
    }

    /// Reads an address.
    ///
    /// # Errors
    /// [`FetchError::Address`].
    pub fn parse(text: &str) -> Result<Self, FetchError> {
        let uri: Option<Uri> = text.parse().ok();
        let uri = uri.filter(|uri| {
            let scheme = uri.scheme_str();
            matches!(scheme, Some("http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty())
        });
        // The text may hold a password: it is not repeated.
        uri.map(Self).ok_or(FetchError::Address)
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.0
    }

    pub(crate) fn is_secret(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    /// All of it but name and password: for people who are to type it, as the query may hold a key.
    #[must_use]
    pub fn to_type(&self) -> String {
        let query = self.0.query();
        query.map_or_else(|| self.to_string(), |query| format!("{self}?{query}"))
    }

    /// The last part of its path, without what follows a dot.
    #[must_use]
    pub fn stem(&self) -> &str {
        let name = self.0.path().rsplit('/').find(|part| !part.is_empty());
        let name = name.unwrap_or_default();
        name.rsplit_once('.').map_or(name, |(stem, _)| stem)
    }

    /// Where a redirection leads, RFC 3986 §5.2 for the forms that servers use.
    ///
    /// # Errors
    /// [`FetchError::Redirect`] if that is another host, another port, or without the encryption that this one has.
    pub(crate) fn follow(&self, location: &str) -> Result<Self, FetchError> {
        let (scheme, authority) = (self.scheme(), self.authority());
        let absolute = if Self::is_one(location) {
            location.to_owned()
        } else if location.starts_with("//") {
            format!("{scheme}:{location}")
        } else if location.starts_with('/') {
            format!("{scheme}://{authority}{location}")
        } else {
            let path = self.0.path();
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{scheme}://{authority}{folder}/{location}")
        };
        let target = Self::parse(&absolute)?;
        if !self.allows(&target) {
            return Err(FetchError::Redirect { target });
        }
        Ok(target.with_secrets_of(self))
    }

    fn allows(&self, target: &Self) -> bool {
        let host = |address: &Self| address.0.host().map(str::to_ascii_lowercase);
        let same = host(self) == host(target);
        if self.scheme() == target.scheme() {
            same && self.port() == target.port()
        } else {
            same && target.is_secret() && (self.port(), target.port()) == (80, 443)
        }
    }

    fn with_secrets_of(self, other: &Self) -> Self {
        let (own, others) = (self.authority(), other.authority());
        let Some((secrets, _)) = others.rsplit_once('@').filter(|_| !own.contains('@')) else {
            return self;
        };
        let rest = self.0.path_and_query().map_or("/", |rest| rest.as_str());
        let text = format!("{}://{secrets}@{own}{rest}", self.scheme());
        Self::parse(&text).unwrap_or(self)
    }

    fn scheme(&self) -> &str {
        self.0.scheme_str().unwrap_or_default()
    }

    fn authority(&self) -> &str {
        self.0
            .authority()
            .map_or("", |authority| authority.as_str())
    }

    fn port(&self) -> u16 {
        let usual = if self.is_secret() { 443 } else { 80 };
        self.0.port_u16().unwrap_or(usual)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host) = (self.scheme(), self.0.host().unwrap_or_default());
        write!(formatter, "{scheme}://{host}")?;
        if let Some(port) = self.0.port_u16() {
            write!(formatter, ":{port}")?;
        }
        formatter.write_str(self.0.path())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Address({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = "http://host:8080/a/film.mp4";
        let typed = address("http://me:word@host:8080/a/film.mp4?key=1#x");
        assert_eq!(typed.to_string(), shown);
        assert_eq!(format!("{typed:?}"), format!("Address({shown})"));
        assert_eq!(typed.stem(), "film");
        assert_eq!(address("https://host").stem(), "");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        assert!(Address::is_one("HTTPS://x") && Address::is_one("http://"));
        assert!(!Address::is_one("http.mp4") && !Address::is_one("ftp://x"));
        for bad in ["http://", "http:// a", "https:///x", "ftp://host/x", "file"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn redirections_stay_on_the_host() {
        let at = |from: &str, location: &str| address(from).follow(location).ok();
        let base = "http://me:word@host/a/b?c";
        for (location, to) in [
            ("http://host/x", "http://me:word@host/x"),
            ("https://HOST/x?y", "https://me:word@HOST/x?y"),
            ("//host/x", "http://me:word@host/x"),
            ("/x", "http://me:word@host/x"),
            ("x", "http://me:word@host/a/x"),
            ("http://host:80/x", "http://me:word@host:80/x"),
        ] {
            assert_eq!(at(base, location), Some(address(to)), "{location}");
        }
        for bad in [
            "http://other/x",
            "http://host:81/x",
            "//evil",
            "http://host.evil/",
            "http://",
        ] {
            assert_eq!(at(base, bad), None, "{bad}");
        }
        assert_eq!(at("https://host/", "http://host/"), None);
        assert_eq!(at("http://host:8080/", "https://host/"), None);
        let told = address(base).follow("http://a:b@other/x?key").unwrap_err();
        let shown = "the server leads to another place, http://other/x";
        assert_eq!(told.to_string(), shown);
        assert!(!format!("{told:?}").contains("key"));
        let FetchError::Redirect { target } = told else {
            panic!("{told:?}");
        };
        assert_eq!(target.to_type(), "http://other/x?key");
    }
}

//! An address that somebody typed, and the only ones that it may lead to.

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine};
use percent_encoding::percent_decode_str;
use ureq::http::Uri;
use url::Url;

use crate::error::FetchError;

/// The most bytes of an address. Requests have no room for more.
const LONGEST: usize = 60_000;

/// The address of a source on a server. Only its [`Display`](fmt::Display) form, which has no name, password or query, is for people and
/// records.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// With name and password, without a fragment.
    url: Url,
    /// What is asked for: without name and password.
    uri: Uri,
}

/// What is wrong with a text that is no address. The text may hold a password and is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// It is no address, or one of another scheme.
    #[error("it does not begin with http:// or https://")]
    Scheme,
    /// No host is named.
    #[error("it names no host")]
    NoHost,
    /// The port is no number, missing after its colon, 0, or too large.
    #[error("its port is not a number from 1 to 65535")]
    Port,
    /// It holds what no address holds.
    #[error("it holds a backslash, a control character, or a space at its ends")]
    Characters,
    /// There is no room for it in a request.
    #[error("it is longer than {LONGEST} bytes")]
    Long,
    /// It is wrong in another way.
    #[error("it cannot be read")]
    Form(#[source] url::ParseError),
}

impl Address {
    /// Whether a text is meant as an address rather than as the name of a file.
    #[must_use]
    pub fn is_one(text: &str) -> bool {
        after_scheme(text).is_some()
    }

    /// Reads an address.
    ///
    /// # Errors
    /// [`FetchError::Address`].
    pub fn parse(text: &str) -> Result<Self, FetchError> {
        Self::typed(text).map_err(FetchError::Address)
    }

    /// Takes no text that programs read in different ways.
    fn typed(text: &str) -> Result<Self, AddressError> {
        let unclear = |c: char| c == '\\' || c.is_control();
        if text.contains(unclear) || text.trim() != text {
            return Err(AddressError::Characters);
        }
        let rest = after_scheme(text).ok_or(AddressError::Scheme)?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        if host.is_empty() || host.starts_with(':') {
            return Err(AddressError::NoHost);
        }
        // Otherwise it would be the scheme's own.
        if host.ends_with(':') {
            return Err(AddressError::Port);
        }
        Self::of(Url::parse(text)?)
    }

    fn of(mut url: Url) -> Result<Self, AddressError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(AddressError::Scheme);
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(AddressError::NoHost);
        }
        if url.port() == Some(0) {
            return Err(AddressError::Port);
        }
        if url.as_str().len() > LONGEST {
            return Err(AddressError::Long);
        }
        url.set_fragment(None);
        let uri = without_secrets(&url).as_str().parse();
        let uri = uri.map_err(|_| AddressError::Form(url::ParseError::InvalidDomainCharacter))?;
        Ok(Self { url, uri })
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// What a server is to be sent to see name and password, RFC 7617.
    pub(crate) fn authorization(&self) -> Option<String> {
        if !self.has_secrets() {
            return None;
        }
        let mut secrets: Vec<u8> = percent_decode_str(self.url.username()).collect();
        secrets.push(b':');
        secrets.extend(percent_decode_str(self.url.password().unwrap_or_default()));
        Some(format!("Basic {}", BASE64_STANDARD.encode(secrets)))
    }

    pub(crate) fn is_secret(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// All of it but name and password: for people who are to type it, as the query may hold a key.
    #[must_use]
    pub fn to_type(&self) -> String {
        without_secrets(&self.url).into()
    }

    /// The last part of its path, without what follows a dot.
    #[must_use]
    pub fn stem(&self) -> String {
        let parts = self.url.path_segments().into_iter().flatten();
        let name = parts.rev().find(|part| !part.is_empty());
        let name = name.unwrap_or_default();
        // In its own letters, unless they would make it more than a name.
        let decoded = percent_decode_str(name).decode_utf8().ok();
        let more = |c: char| c == '/' || c == '\\' || c.is_control();
        let name = decoded.filter(|name| !name.contains(more) && !name.starts_with('.'));
        let name = name.unwrap_or_default();
        name.rsplit_once('.')
            .map_or(&*name, |(stem, _)| stem)
            .to_owned()
    }

    /// Where a redirection leads.
    ///
    /// # Errors
    /// [`FetchError::Redirect`] if that is another host, another port, or without the encryption that this one has;
    /// [`FetchError::OtherScheme`] and [`FetchError::Location`] if nothing is fetched from there.
    pub(crate) fn follow(&self, location: &str) -> Result<Self, FetchError> {
        let joined = self.url.join(location).map_err(AddressError::from);
        let joined = joined.map_err(FetchError::Location)?;
        if !matches!(joined.scheme(), "http" | "https") {
            let scheme = joined.scheme().to_owned();
            return Err(FetchError::OtherScheme { scheme });
        }
        let target = Self::of(joined).map_err(FetchError::Location)?;
        if !self.allows(&target) {
            let target = Box::new(target);
            return Err(FetchError::Redirect { target });
        }
        Ok(target.with_secrets_of(self))
    }

    fn allows(&self, target: &Self) -> bool {
        let port = |address: &Self| address.url.port_or_known_default();
        let same = self.url.host() == target.url.host();
        if self.url.scheme() == target.url.scheme() {
            same && port(self) == port(target)
        } else {
            let usual = (port(self), port(target)) == (Some(80), Some(443));
            same && target.is_secret() && usual
        }
    }

    fn has_secrets(&self) -> bool {
        !self.url.username().is_empty() || self.url.password().is_some()
    }

    fn with_secrets_of(mut self, other: &Self) -> Self {
        if !self.has_secrets() {
            // An address with a host takes both.
            self.url.set_username(other.url.username()).ok();
            self.url.set_password(other.url.password()).ok();
        }
        self
    }
}

/// What follows `http://` or `https://`.
fn after_scheme(text: &str) -> Option<&str> {
    ["http://", "https://"].into_iter().find_map(|scheme| {
        let start = text.get(..scheme.len())?;
        start
            .eq_ignore_ascii_case(scheme)
            .then(|| &text[scheme.len()..])
    })
}

fn without_secrets(url: &Url) -> Url {
    let mut url = url.clone();
    // An address with a host takes both.
    url.set_username("").ok();
    url.set_password(None).ok();
    url
}

impl From<url::ParseError> for AddressError {
    fn from(error: url::ParseError) -> Self {
        match error {
            url::ParseError::EmptyHost => Self::NoHost,
            url::ParseError::InvalidPort => Self::Port,
            url::ParseError::Overflow => Self::Long,
            error => Self::Form(error),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = without_secrets(&self.url);
        shown.set_query(None);
        formatter.write_str(shown.as_str())
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

    fn wrong(text: &str) -> AddressError {
        match Address::parse(text) {
            Err(FetchError::Address(error)) => error,
            parsed => panic!("{text}: {parsed:?}"),
        }
    }

    #[test]
    fn secrets_are_sent_and_not_shown() {
        let shown = "http://host:8080/a/film.mp4";
        let typed = address("http://me:wo%3Ard%40@host:8080/a/film.mp4?key=1#x");
        assert_eq!(typed.to_string(), shown);
        assert_eq!(format!("{typed:?}"), format!("Address({shown})"));
        assert_eq!(typed.to_type(), format!("{shown}?key=1"));
        assert_eq!(typed.uri().to_string(), format!("{shown}?key=1"));
        let sent = format!("Basic {}", BASE64_STANDARD.encode("me:wo:rd@"));
        assert_eq!(typed.authorization(), Some(sent));
        // The last @ ends them.
        let two = address("http://me:a@b@host/");
        assert_eq!(two.to_string(), "http://host/");
        assert_eq!(address(shown).authorization(), None);
        let alone = format!("Basic {}", BASE64_STANDARD.encode("key:"));
        assert_eq!(address("https://key@host/").authorization(), Some(alone));
    }

    #[test]
    fn a_file_is_called_as_the_last_part_of_the_path() {
        for (text, stem) in [
            ("http://host/a/film.mp4?b=c.d#e", "film"),
            ("https://host", ""),
            ("http://host/a%20b.mp4", "a b"),
            ("http://host/\u{444}\u{438}.mkv", "\u{444}\u{438}"),
            ("http://host/film.mp4/", "film"),
            ("http://host/%2e%2e%2fetc.mp4", ""),
            ("http://host/a%0ab.mp4", ""),
            ("http://host/%ff.mp4", ""),
            ("http://host/.mp4", ""),
        ] {
            assert_eq!(address(text).stem(), stem, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        use AddressError::{Characters, Form, Long, NoHost, Port, Scheme};
        assert!(Address::is_one("HTTPS://x") && Address::is_one("http://"));
        assert!(!Address::is_one("http.mp4") && !Address::is_one("ftp://x"));
        for (bad, why) in [
            ("http://", NoHost),
            ("https:///x", NoHost),
            ("http://?x", NoHost),
            ("http://#x", NoHost),
            ("http://:80/x", NoHost),
            ("http://me:word@/x", NoHost),
            ("http://me:word@:80/x", NoHost),
            ("ftp://host/x", Scheme),
            ("http:host/x", Scheme),
            ("file", Scheme),
            ("", Scheme),
            ("http://host:65536/x", Port),
            ("http://host:4294967376/x", Port),
            ("http://host:0/x", Port),
            ("http://host:000/x", Port),
            ("http://host:/x", Port),
            ("http://host:", Port),
            ("http://[::1]:/x", Port),
            ("http://[::1]:65536/", Port),
            ("http://host:-1/x", Port),
            ("http://host:8o/x", Port),
            ("http://host:80:80/x", Port),
            ("http://host\\x", Characters),
            ("http://host\\@evil/x", Characters),
            ("http://ho\tst/x", Characters),
            ("http://host/\n", Characters),
            ("http://host/ ", Characters),
        ] {
            assert_eq!(wrong(bad), why, "{bad:?}");
        }
        for bad in [
            "http:// a",
            "http://a b/x",
            "http://[::1",
            "http://[::1%25eth0]/x",
            "http://[12345::]/",
            "http://1.2.3.256/",
            "http://a%00b/",
            "http://a<b/",
        ] {
            assert!(matches!(wrong(bad), Form(_)), "{bad}");
        }
        assert_eq!(wrong(&format!("http://host/{}", "x".repeat(LONGEST))), Long);
        address(&format!("http://host/{}", "x".repeat(LONGEST - 20)));
        address("http://host:65535/x");
    }

    #[test]
    fn hosts_are_known_in_each_of_their_forms() {
        for (text, shown) in [
            ("http://[::1]:8080/x", "http://[::1]:8080/x"),
            ("http://[0:0:0:0:0:0:0:1]/x", "http://[::1]/x"),
            ("HTTP://HOST:80/x", "http://host/x"),
            ("https://host:443/x", "https://host/x"),
            ("https://host:0443/x", "https://host/x"),
            (
                "http://b\u{fc}cher.example/\u{fc} x",
                "http://xn--bcher-kva.example/%C3%BC%20x",
            ),
            ("http://127.1/", "http://127.0.0.1/"),
            ("http://host/a/../b/%2e/c", "http://host/b/c"),
        ] {
            assert_eq!(address(text).to_string(), shown);
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
            ("../x", "http://me:word@host/x"),
            ("?d", "http://me:word@host/a/b?d"),
            ("#d", "http://me:word@host/a/b?c"),
            ("", "http://me:word@host/a/b?c"),
            ("http:x", "http://me:word@host/a/x"),
            ("http://host:80/x", "http://me:word@host:80/x"),
            // As in browsers, what follows is a path.
            ("http://host\\@evil/", "http://me:word@host/@evil/"),
            ("http://other:one@host/x", "http://other:one@host/x"),
        ] {
            assert_eq!(at(base, location), Some(address(to)), "{location}");
        }
        for bad in [
            "http://other/x",
            "http://host:81/x",
            "//evil",
            "///evil",
            "\\\\evil\\x",
            "/\\evil",
            "http://host.evil/",
            "http://host@evil/",
            "http://",
            "http://host:65536/",
            "http://host:0/",
        ] {
            assert_eq!(at(base, bad), None, "{bad}");
        }
        assert_eq!(at("https://host/", "http://host/"), None);
        assert_eq!(at("http://host:8080/", "https://host/"), None);
        let v6 = at("http://[::1]:8080/a", "http://[0::1]:8080/b").unwrap();
        assert_eq!(v6.to_string(), "http://[::1]:8080/b");
        let told = address(base).follow("http://a:b@other/x?key").unwrap_err();
        let shown = "the server leads to another place, http://other/x";
        assert_eq!(told.to_string(), shown);
        assert!(!format!("{told:?}").contains("key"));
        let FetchError::Redirect { target } = told else {
            panic!("{told:?}");
        };
        assert_eq!(target.to_type(), "http://other/x?key");
    }

    #[test]
    fn redirections_to_other_schemes_are_refused_by_name() {
        for (location, name) in [
            ("file:///etc/passwd", "file"),
            ("FILE:/etc/passwd", "file"),
            ("ftp://host/x", "ftp"),
            ("gopher://host/x", "gopher"),
            ("data:video/mp4,x", "data"),
            ("concat:a|b", "concat"),
            ("x:y", "x"),
        ] {
            let refused = address("http://host/").follow(location);
            let Err(FetchError::OtherScheme { scheme }) = refused else {
                panic!("{location}: {refused:?}");
            };
            assert_eq!(scheme, name);
        }
    }
}

//! Hosts' names, looked up in time.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread::Builder;
use std::vec;

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// The most addresses of a host that are tried.
const MOST: usize = 16;

/// Looks names up with the system's resolver, in a thread of its own as that knows no deadline. Where
/// the system gives no thread it is an error; `ureq`'s own resolver panics.
#[derive(Debug)]
pub(crate) struct Names;

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let usual = if uri.scheme_str() == Some("https") {
            443
        } else {
            80
        };
        let port = uri.port_u16().unwrap_or(usual);
        let host = uri.host().ok_or(Error::HostNotFound)?;
        let found = match literal(host) {
            Some(address) => vec![SocketAddr::new(address, port)].into_iter(),
            None => look_up(host.to_owned(), port, &timeout)?,
        };
        let mut wanted = self.empty();
        for address in config.ip_family().keep_wanted(found).take(MOST) {
            wanted.push(address);
        }
        if wanted.is_empty() {
            return Err(Error::HostNotFound);
        }
        Ok(wanted)
    }
}

/// A host that is an address, in brackets if it is one of IPv6.
fn literal(host: &str) -> Option<IpAddr> {
    let inner = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    inner.unwrap_or(host).parse().ok()
}

fn look_up(
    host: String,
    port: u16,
    timeout: &NextTimeout,
) -> Result<vec::IntoIter<SocketAddr>, Error> {
    let (found, waiting) = sync_channel(1);
    let look = move || found.send((host.as_str(), port).to_socket_addrs()).ok();
    let thread = Builder::new().name("resolve".to_owned());
    // It ends when the system's resolver does. Nobody waits for it longer than the deadline.
    thread.spawn(look).map_err(Error::Io)?;
    match waiting.recv_timeout(*timeout.after) {
        Ok(found) => Ok(found?),
        Err(RecvTimeoutError::Timeout) => Err(Error::Timeout(timeout.reason)),
        Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the resolver ended").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_not_looked_up() {
        let of = |text: &str| literal(text).map(|address| address.to_string());
        assert_eq!(of("127.0.0.1").as_deref(), Some("127.0.0.1"));
        assert_eq!(of("[::1]").as_deref(), Some("::1"));
        assert_eq!((of("localhost"), of("[::1")), (None, None));
    }
}

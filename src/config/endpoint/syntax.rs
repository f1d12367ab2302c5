//! A URL cut into its parts, percent-decoded. Part of the endpoint's room.

/// What is wrong with a URL. Reads after "the URL"; never holds a value of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not a Postgres URL at all.
    #[error("must begin with `postgres://` or `postgresql://`")]
    Scheme,
    /// `%` without two hexadecimal digits, `%00`, or bytes that are not UTF-8.
    #[error("has a `%` that does not begin an encoded character: write a `%` itself as `%25`")]
    Encoding,
    /// `[` without `]`, or something odd behind it.
    #[error("has an IPv6 address that is not closed by `]`, or empty, or followed by something else than a port")]
    Ipv6,
    /// A port that is none.
    #[error("has a port that is not a number from 1 to 65535 (in a password, `/ @ : ? #` must be percent-encoded)")]
    Port,
    /// A host name with characters that no host name has.
    #[error("has a host that is not a name or an address (in a password, `/ @ : ? #` must be percent-encoded)")]
    Host,
    /// No host.
    #[error("names no host")]
    NoHost,
    /// As many ports as hosts, or one.
    #[error("gives a number of ports that is neither one nor that of the hosts")]
    PortCount,
    /// No user.
    #[error("names no user")]
    NoUser,
    /// `&x&`: a parameter without `=`.
    #[error("has a parameter without a value")]
    NoValue,
    /// The same parameter twice.
    #[error("gives `{0}` twice")]
    Twice(String),
    /// A parameter that nobody knows.
    #[error("has the parameter `{0}`, which pgwarden does not know{1}")]
    Unknown(String, String),
    /// A parameter that libpq or a driver knows, and whose meaning pgwarden would have to drop.
    #[error("has the parameter `{0}`, which pgwarden does not support: {1}")]
    Unsupported(&'static str, &'static str),
    /// A parameter with a value that it cannot have.
    #[error("has a `{0}` that is not {1}")]
    Value(&'static str, &'static str),
    /// Parameters that contradict each other.
    #[error("{0}")]
    Contradiction(&'static str),
    /// `{name}` where it may not stand.
    #[error("may hold `{{name}}` in its host, user, database and `schema` only")]
    Name,
}

/// The parts of a URL, decoded.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// The user, when given before `@`.
    pub user: Option<String>,
    /// The password, when given before `@`.
    pub password: Option<String>,
    /// Hosts and ports in order; a host may be empty.
    pub hosts: Vec<(String, Option<u16>)>,
    /// The database, when given.
    pub database: Option<String>,
    /// The parameters in order.
    pub parameters: Vec<(String, String)>,
}

/// Cuts a URL as libpq does: the first `@` before any `/` ends the credentials, hosts are separated by commas, `?` begins the
/// parameters.
pub(super) fn split(url: &str) -> Result<Parts, UrlError> {
    let rest =
        ["postgres://", "postgresql://"].iter().find_map(|scheme| url.strip_prefix(scheme)).ok_or(UrlError::Scheme)?;
    let mut parts = Parts::default();
    let rest = credentials(rest, &mut parts)?;
    let end = authority_end(rest);
    let (authority, rest) = rest.split_at_checked(end).unwrap_or((rest, ""));
    parts.hosts = hosts(authority)?;
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    parts.database = path.strip_prefix('/').filter(|name| !name.is_empty()).map(decode).transpose()?;
    parts.parameters = parameters(query)?;
    Ok(parts)
}

fn credentials<'a>(rest: &'a str, parts: &mut Parts) -> Result<&'a str, UrlError> {
    let slash = rest.find('/').unwrap_or(rest.len());
    let Some(at) = rest.find('@').filter(|at| *at < slash) else { return Ok(rest) };
    let (before, after) = (rest.get(..at).unwrap_or_default(), rest.get(at + 1..).unwrap_or_default());
    let (user, password) = before.split_once(':').map_or((before, None), |(user, password)| (user, Some(password)));
    parts.user = Some(decode(user)?).filter(|user| !user.is_empty());
    parts.password = password.map(decode).transpose()?.filter(|password| !password.is_empty());
    Ok(after)
}

/// Where hosts and ports end: at the first `/` or `?`.
fn authority_end(rest: &str) -> usize {
    rest.find(['/', '?']).unwrap_or(rest.len())
}

fn hosts(authority: &str) -> Result<Vec<(String, Option<u16>)>, UrlError> {
    if authority.is_empty() {
        return Ok(Vec::new());
    }
    authority.split(',').map(host).collect()
}

fn host(text: &str) -> Result<(String, Option<u16>), UrlError> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, after) = rest.split_once(']').ok_or(UrlError::Ipv6)?;
        let address = decode(address)?;
        is_ipv6(&address).then_some(()).ok_or(UrlError::Ipv6)?;
        return match after.strip_prefix(':') {
            Some(digits) => Ok((address, port(digits)?)),
            None if after.is_empty() => Ok((address, None)),
            None => Err(UrlError::Ipv6),
        };
    }
    let (name, digits) = text.split_once(':').unwrap_or((text, ""));
    let name = decode(name)?;
    checked(&name).then_some(()).ok_or(UrlError::Host)?;
    Ok((name, port(digits)?))
}

/// An empty port is the default one.
pub(super) fn port(digits: &str) -> Result<Option<u16>, UrlError> {
    if digits.is_empty() {
        return Ok(None);
    }
    let number = digits.parse::<u16>().ok().filter(|number| *number > 0 && !digits.starts_with('+'));
    number.map(Some).ok_or(UrlError::Port)
}

/// A host name, an address, a `{name}` within, or the folder of a socket. Empty is left to whoever adds `host=`.
pub(super) fn checked(name: &str) -> bool {
    let plain = name.replace(super::NAME, "x");
    let ordinary = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    name.starts_with('/') || plain.chars().all(ordinary) || is_ipv6(&plain)
}

/// An IPv6 address, with a zone (`fe80::1%eth0`) or without.
fn is_ipv6(text: &str) -> bool {
    let (address, zone) = text.split_once('%').unwrap_or((text, ""));
    address.parse::<std::net::Ipv6Addr>().is_ok()
        && zone.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

fn parameters(query: &str) -> Result<Vec<(String, String)>, UrlError> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').ok_or(UrlError::NoValue)?;
            Ok((decode(name)?, decode(value)?))
        })
        .collect()
}

/// Decodes `%xx`. A `+` stays a `+`, as in libpq.
fn decode(text: &str) -> Result<String, UrlError> {
    let proper = text.split('%').skip(1).all(|rest| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit) && digits != b"00")
    });
    if !proper {
        return Err(UrlError::Encoding);
    }
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
    decoded.map(|text| text.into_owned()).map_err(|_| UrlError::Encoding)
}

//! The field names that mean something to a proxy, told apart by their length first.

/// A field name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Known {
    /// `Accept`
    Accept,
    /// `Connection`
    Connection,
    /// `Content-Length`
    ContentLength,
    /// `Cookie`
    Cookie,
    /// `Expect`
    Expect,
    /// `Forwarded` (RFC 7239)
    Forwarded,
    /// `Host`
    Host,
    /// `Referer`
    Referer,
    /// `TE`, `Keep-Alive` and others that end at this hop and say nothing to it.
    Hop,
    /// `Transfer-Encoding`
    TransferEncoding,
    /// `Upgrade`
    Upgrade,
    /// `User-Agent`
    UserAgent,
    /// `X-Forwarded-For`
    XForwardedFor,
    /// `X-Forwarded-Host`
    XForwardedHost,
    /// `X-Forwarded-Port`
    XForwardedPort,
    /// `X-Forwarded-Proto`
    XForwardedProto,
    /// Any other that begins with `X-Forwarded-`: frameworks believe `X-Forwarded-Prefix` too.
    XForwardedOther,
    /// `X-Real-IP`
    XRealIp,
    /// `X-Request-ID`
    XRequestId,
    /// Holds `_`, which many applications read as `-`: nobody can tell what it means.
    Underscored,
    /// Any other.
    #[default]
    Other,
}

/// The lower-case bytes of a name, as three words that cover all of them if there are from 2 to 24;
/// they overlap where there are fewer.
type Key = (u64, u64, u64);

macro_rules! keys {
    ($($key:ident = $name:literal;)*) => { $(const $key: Key = key($name);)* };
}

keys! {
    ACCEPT = b"accept";
    ACCEPT_ENCODING = b"accept-encoding";
    ACCEPT_LANGUAGE = b"accept-language";
    ACCEPT_RANGES = b"accept-ranges";
    ALT_SVC = b"alt-svc";
    AUTHORIZATION = b"authorization";
    CACHE_CONTROL = b"cache-control";
    CONNECTION = b"connection";
    CONTENT_ENCODING = b"content-encoding";
    CONTENT_LENGTH = b"content-length";
    CONTENT_TYPE = b"content-type";
    COOKIE = b"cookie";
    DATE = b"date";
    ETAG = b"etag";
    EXPECT = b"expect";
    EXPIRES = b"expires";
    FORWARDED = b"forwarded";
    HOST = b"host";
    HTTP2_SETTINGS = b"http2-settings";
    IF_MODIFIED_SINCE = b"if-modified-since";
    IF_NONE_MATCH = b"if-none-match";
    KEEP_ALIVE = b"keep-alive";
    LAST_MODIFIED = b"last-modified";
    LINK = b"link";
    LOCATION = b"location";
    ORIGIN = b"origin";
    PRAGMA = b"pragma";
    PROXY_AUTHENTICATE = b"proxy-authenticate";
    PROXY_AUTHORIZATION = b"proxy-authorization";
    PROXY_CONNECTION = b"proxy-connection";
    REFERER = b"referer";
    SERVER = b"server";
    SET_COOKIE = b"set-cookie";
    TE = b"te";
    TRANSFER_ENCODING = b"transfer-encoding";
    UPGRADE = b"upgrade";
    USER_AGENT = b"user-agent";
    VARY = b"vary";
    X_FORWARDED_FOR = b"x-forwarded-for";
    X_FORWARDED_HOST = b"x-forwarded-host";
    X_FORWARDED_PORT = b"x-forwarded-port";
    X_FORWARDED_PROTO = b"x-forwarded-proto";
    X_POWERED_BY = b"x-powered-by";
    X_REAL_IP = b"x-real-ip";
    X_REQUEST_ID = b"x-request-id";
}

/// Which field this is. The name must be a token (RFC 9110 §5.6.2), in any case.
#[inline]
pub(super) fn known(name: &[u8]) -> Known {
    meant(name).unwrap_or_else(|| among_others(name, classes(name)))
}

/// Which field this is; `None`: its name is no token. It must hold neither control characters nor
/// colons.
#[inline]
pub(super) fn read(name: &[u8]) -> Option<Known> {
    meant(name).or_else(|| {
        let classes = classes(name);
        let is_token = classes & NO_TOKEN == 0 && !name.is_empty();
        is_token.then(|| among_others(name, classes))
    })
}

/// Which field this is, if it is one of those that are known by their whole names.
///
/// Setting the bit that tells the cases apart makes letters of capitals, and `-` and `2` of control
/// characters, which the name must not hold: whatever is equal to a name now, is that name.
#[inline]
fn meant(name: &[u8]) -> Option<Known> {
    let known = match (name.len(), key(name)) {
        (2, TE) => Known::Hop,
        (4, HOST) => Known::Host,
        (6, ACCEPT) => Known::Accept,
        (6, COOKIE) => Known::Cookie,
        (6, EXPECT) => Known::Expect,
        (7, UPGRADE) => Known::Upgrade,
        (7, REFERER) => Known::Referer,
        (9, X_REAL_IP) => Known::XRealIp,
        (9, FORWARDED) => Known::Forwarded,
        (10, CONNECTION) => Known::Connection,
        (10, USER_AGENT) => Known::UserAgent,
        (10, KEEP_ALIVE) => Known::Hop,
        (12, X_REQUEST_ID) => Known::XRequestId,
        (14, CONTENT_LENGTH) => Known::ContentLength,
        (14, HTTP2_SETTINGS) => Known::Hop,
        (15, X_FORWARDED_FOR) => Known::XForwardedFor,
        (16, X_FORWARDED_HOST) => Known::XForwardedHost,
        (16, X_FORWARDED_PORT) => Known::XForwardedPort,
        (16, PROXY_CONNECTION) => Known::Hop,
        (17, TRANSFER_ENCODING) => Known::TransferEncoding,
        (17, X_FORWARDED_PROTO) => Known::XForwardedProto,
        (18, PROXY_AUTHENTICATE) => Known::Hop,
        (19, PROXY_AUTHORIZATION) => Known::Hop,
        // Frequent names: whoever finds them here need not look at each byte of them.
        (4, DATE | ETAG | VARY | LINK) => Known::Other,
        (6, SERVER | ORIGIN | PRAGMA) => Known::Other,
        (7, EXPIRES | ALT_SVC) => Known::Other,
        (8, LOCATION) => Known::Other,
        (10, SET_COOKIE) => Known::Other,
        (12, CONTENT_TYPE | X_POWERED_BY) => Known::Other,
        (13, LAST_MODIFIED | CACHE_CONTROL | ACCEPT_RANGES) => Known::Other,
        (13, IF_NONE_MATCH | AUTHORIZATION) => Known::Other,
        (15, ACCEPT_ENCODING | ACCEPT_LANGUAGE) => Known::Other,
        (16, CONTENT_ENCODING) => Known::Other,
        (17, IF_MODIFIED_SINCE) => Known::Other,
        _ => return None,
    };
    Some(known)
}

#[inline]
const fn key(name: &[u8]) -> Key {
    const LOWER: u64 = 0x2020_2020_2020_2020;
    match (name.split_first_chunk(), name.last_chunk()) {
        (Some((first, after)), Some(last)) => {
            let middle = match after.first_chunk() {
                Some(middle) => u64::from_le_bytes(*middle),
                None => 0,
            };
            let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
            (first | LOWER, last | LOWER, middle | LOWER)
        }
        _ => (short(name), 0, 0),
    }
}

/// The bytes of a name of fewer than eight.
#[inline]
const fn short(name: &[u8]) -> u64 {
    const LOWER: u32 = 0x2020_2020;
    match (name.first_chunk(), name.last_chunk(), name) {
        (Some(first), Some(last), _) => {
            let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
            ((first | LOWER) as u64) << 32 | (last | LOWER) as u64
        }
        (_, _, [a, b]) => u16::from_le_bytes([*a | 0x20, *b | 0x20]) as u64,
        _ => 0,
    }
}

/// A byte that may not stand in a token.
const NO_TOKEN: u8 = 1;
/// `_`
const UNDERSCORE: u8 = 2;

/// What each byte is to a name.
#[expect(clippy::indexing_slicing, reason = "done when the program is compiled")]
const CLASSES: [u8; 256] = {
    let mut classes = [NO_TOKEN; 256];
    let mut byte = 0_u8;
    while byte < 0x80 {
        if is_token_byte(byte) {
            classes[byte as usize] = if byte == b'_' { UNDERSCORE } else { 0 };
        }
        byte += 1;
    }
    classes
};

/// All classes that occur in the name. Looks at every byte, which is faster than to stop.
#[inline]
fn classes(name: &[u8]) -> u8 {
    let class = |b: &u8| CLASSES.get(usize::from(*b)).copied().unwrap_or(NO_TOKEN);
    name.iter().fold(0, |all, b| all | class(b))
}

/// What a field is that is none of those known by their whole names.
#[inline]
fn among_others(name: &[u8], classes: u8) -> Known {
    const FAMILY: &[u8; 12] = b"x-forwarded-";
    if classes & UNDERSCORE != 0 {
        return Known::Underscored;
    }
    match name.first_chunk::<12>() {
        Some(start) if key(start) == const { key(FAMILY) } => Known::XForwardedOther,
        Some(_) | None => Known::Other,
    }
}

/// Whether a field concerns one connection only, whether `Connection` nominates it or not
/// (RFC 9110 §7.6.1, and RFC 2616 §13.5.1 for the two of authentication between hops).
pub(super) fn is_hop_by_hop(known: Known) -> bool {
    matches!(known, Known::Connection | Known::Hop | Known::TransferEncoding | Known::Upgrade)
}

/// Whether a field of a request goes on to the target whatever else its head says, and nobody looks
/// at it on the way.
#[inline]
pub(super) fn passes_onward(known: Known) -> bool {
    matches!(known, Known::Other | Known::Accept)
}

/// Whether a field of an answer goes home to the client whatever else its head says.
#[inline]
pub(super) fn passes_homeward(known: Known) -> bool {
    known != Known::ContentLength && !is_hop_by_hop(known)
}

/// The comma-separated words of a field value that are not empty (RFC 9110 §5.6.1).
pub(super) fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|b| *b == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|word| !word.is_empty())
}

/// Whether `b` may stand in a token (RFC 9110 §5.6.2).
pub(super) const fn is_token_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric()
        || matches!(
            b,
            b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~'
        )
}

/// Whether `b` may stand in a field value (RFC 9110 §5.5).
pub(super) fn is_value_byte(b: u8) -> bool {
    b == b'\t' || (b >= b' ' && b != 0x7f)
}

#[cfg(test)]
mod tests;

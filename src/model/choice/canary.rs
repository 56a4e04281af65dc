//! Which colour a request gets while a canary runs, and what its user is given to keep it.

use crate::model::choice::Asked;
use crate::model::choice::Choice;
use crate::model::choice::Why;
use crate::model::choice::cookies;
use crate::model::colour::Colour;
use crate::model::extras::Extras;
use crate::model::settings::CanarySettings;
use crate::model::settings::Pin;
use crate::model::settings::PinnedBy;
use crate::model::settings::Sticky;
use crate::model::signed::Purpose;
use crate::model::split::Split;
use crate::model::split::User;
use crate::model::upstream::Upstream;

/// How long a browser keeps the cookie: longer than any canary, so that closing it moves nobody.
const KEPT_SECONDS: u32 = 30 * 24 * 3600;

/// Who asks, and the cookie to be given for it.
type Known = (User, Option<Box<Extras>>);

/// Decides while `split` gives a part of the users another colour than the live one.
pub(super) fn choose(upstream: &Upstream, split: Split, asked: &impl Asked) -> Choice {
    let (live, settings) = (split.live(), &upstream.canary);
    let pinned = settings.pins.iter().find(|pin| fits(pin, asked));
    let (wanted, why, extras) = if let Some(pin) = pinned {
        (pin.colour.unwrap_or_else(|| live.other()), Why::Pinned, None)
    } else {
        let (user, extras) = match settings.sticky {
            Sticky::Address => (User::of_address(asked.client()), None),
            Sticky::Cookie => by_cookie(upstream, settings, split, asked),
        };
        let colour = split.colour_of(user);
        (colour, if colour == live { Why::Live } else { Why::Canary }, extras)
    };
    // Nobody gets a 503 for being a canary.
    let (colour, why) = if wanted == live || is_usable(upstream, wanted) {
        (wanted, why)
    } else {
        (live, Why::StandIn)
    };
    Choice::Send { colour: Some(colour), why, extras }
}

fn fits(pin: &Pin, asked: &impl Asked) -> bool {
    let is_it = |value: &[u8]| value.trim_ascii() == pin.value.as_bytes();
    match &pin.by {
        PinnedBy::Header(name) => asked.field(name).any(is_it),
        PinnedBy::Cookie(name) => cookies::values(asked, name).any(is_it),
    }
}

fn is_usable(upstream: &Upstream, colour: Colour) -> bool {
    upstream.pool(colour).is_some_and(|pool| pool.is_usable())
}

/// The user that a valid cookie names; else a new one. What does not look like a browser that opens a
/// page may keep no cookies: it is known by its address, and given a cookie that leads to the same
/// place, so that it has one colour whether it keeps it or not.
fn by_cookie(
    upstream: &Upstream,
    settings: &CanarySettings,
    split: Split,
    asked: &impl Asked,
) -> Known {
    let read = |value: &[u8]| upstream.key.read(Purpose::User, value);
    if let Some(number) = cookies::values(asked, &settings.cookie)
        .take(cookies::MANY)
        .find_map(read)
    {
        return (User(number), None);
    }
    let new = match split {
        Split::Weighted { salt, .. } if !opens_a_page(asked) => {
            let place = User::of_address(asked.client()).place(salt);
            User::at_place(place, salt, asked.draw())
        }
        Split::Weighted { .. } | Split::AllTo(_) => User(asked.draw()),
    };
    let cookie = cookie(
        &settings.cookie,
        &upstream.key.sign(Purpose::User, new.0),
        KEPT_SECONDS.into(),
        asked,
    );
    (new, Some(Box::new(Extras::default().with("Set-Cookie", cookie))))
}

/// Whether a browser may be asking for a page: it says that it takes one, or nothing.
fn opens_a_page(asked: &impl Asked) -> bool {
    let page = b"text/html";
    let mut said = false;
    for value in asked.field("accept") {
        said = true;
        if value
            .windows(page.len())
            .any(|part| part.eq_ignore_ascii_case(page))
        {
            return true;
        }
    }
    !said
}

/// A cookie for this host alone, which no script may read and no other site send along, but for links
/// that are followed.
pub(super) fn cookie(name: &str, value: &str, seconds: u64, asked: &impl Asked) -> String {
    let secure = if asked.is_secure() { "; Secure" } else { "" };
    format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}")
}

//! The parts of frames that are looked at: heads, and the numbers for which a frame may end the
//! connection.

use crate::proxy::server::broken::Broken;
use crate::proxy::server::broken::Code;
use crate::proxy::server::broken::err;
use crate::proxy::server::frames::head::HEAD;

/// How long a setting and a priority are.
pub(super) const SETTING: usize = 6;
pub(super) const PRIORITY_LENGTH: usize = 5;

/// Settings whose values have bounds (RFC 9113 §6.5.2).
const ENABLE_PUSH: u16 = 2;
const INITIAL_WINDOW: u16 = 4;
const MAX_FRAME: u16 = 5;

/// The largest window, and all bits of a number that are not reserved.
const MOST: u32 = 0x7fff_ffff;

/// A part of a frame that is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// The head of the next one.
    Head,
    /// One setting, of so many bytes of them.
    Setting(usize),
    /// The priority of this stream.
    Priority(u32),
    /// What a window grows by.
    Window,
    /// How much padding there is in the rest of a frame.
    Padding,
}

impl Unit {
    /// How long it is.
    #[inline]
    pub(super) fn length(self) -> usize {
        match self {
            Self::Head => HEAD,
            Self::Setting(_) => SETTING,
            Self::Priority(_) => PRIORITY_LENGTH,
            Self::Window => 4,
            Self::Padding => 1,
        }
    }

    /// Looks at its bytes, behind which there are `rest` of its frame; what is looked at next.
    ///
    /// # Errors
    ///
    /// They end the connection.
    pub(super) fn judge(self, bytes: [u8; HEAD], rest: usize) -> Result<Self, Broken> {
        let [a, b, c, d, e, f, ..] = bytes;
        let number = u32::from_be_bytes([a, b, c, d]) & MOST;
        match self {
            Self::Head => {}
            Self::Setting(left) => {
                setting(u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, f]))?;
                if left > SETTING {
                    return Ok(Self::Setting(left - SETTING));
                }
            }
            // Nobody follows priorities any more (RFC 9113 §5.3), but `h2` would reset a stream that
            // depends on itself, even one that never was.
            Self::Priority(stream) if number == stream => {
                return err(Code::Protocol, "a stream that depends on itself");
            }
            Self::Window if number == 0 => {
                return err(Code::Protocol, "a window that grows by nothing");
            }
            Self::Padding if usize::from(a) > rest => {
                return err(Code::Protocol, "more padding than frame");
            }
            Self::Priority(_) | Self::Window | Self::Padding => {}
        }
        Ok(Self::Head)
    }
}

fn setting(name: u16, value: u32) -> Result<(), Broken> {
    match name {
        INITIAL_WINDOW if value > MOST => err(Code::FlowControl, "a window of 2^31 or more"),
        ENABLE_PUSH if value > 1 => err(Code::Protocol, "push neither on nor off"),
        MAX_FRAME if !(0x4000..=0xff_ffff).contains(&value) => {
            err(Code::Protocol, "frames of a size that cannot be")
        }
        _ => Ok(()),
    }
}

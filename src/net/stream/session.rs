//! What the records of an established TLS connection mean: data, alerts, key updates, and what a
//! peer must not send any more.

use std::io;
use std::ops::Range;

use rustls::AlertDescription;
use rustls::ContentType;
use rustls::SupportedCipherSuite;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::server::UnbufferedServerConnection;

use crate::net::stream::outgoing::Outgoing;
use crate::net::stream::records::Broken;
use crate::net::stream::records::Opener;
use crate::net::stream::records::Sealer;

/// Empty records in a row, and key updates without data between them, that a peer may send.
const FRUITLESS_MAX: u8 = 32;

/// Warnings that a TLS 1.2 peer may send in all.
const WARNINGS_MAX: u8 = 4;

const WARNING: u8 = 1;
const FATAL: u8 = 2;
const CLIENT_HELLO: u8 = 1;

/// A key update, and whether it asks for ours (RFC 8446 §4.6.3).
const KEY_UPDATE: [u8; 4] = [24, 0, 0, 1];
const KEY_UPDATE_ALONE: [u8; 5] = [24, 0, 0, 1, 0];

/// What a record was.
#[derive(Debug)]
pub(super) enum Found {
    /// Data, here.
    Data(Range<usize>),
    /// Something that is dealt with.
    Nothing,
    /// The peer's `close_notify`: it sends no more.
    Closed,
}

/// The keys of a connection and the peer's conduct.
pub(super) struct Session {
    opener: Opener,
    sealer: Sealer,
    suite: SupportedCipherSuite,
    /// Makes the next keys; of no use to TLS 1.2, which has none.
    keys: Option<Box<KernelConnection<ServerConnectionData>>>,
    /// The beginning of a key update that was split over records.
    update: Vec<u8>,
    empty: u8,
    updates: u8,
    warnings: u8,
    renegotiated: bool,
    /// The peer asked for our key update: it goes before the next data, once for all that asked.
    answer_due: bool,
    /// Our last record was written: a `close_notify` or a fatal alert.
    ended: bool,
}

impl Session {
    /// Takes a connection over from the handshake, which has left nothing to send behind.
    ///
    /// # Errors
    /// Its configuration does not let the keys out, or it has a cipher that we do not know.
    pub(super) fn new(connection: UnbufferedServerConnection) -> Result<Self, rustls::Error> {
        let (secrets, keys) = connection.dangerous_into_kernel_connection()?;
        let suite = keys.negotiated_cipher_suite();
        let updatable = matches!(suite, SupportedCipherSuite::Tls13(_));
        Ok(Self {
            opener: Opener::new(suite, secrets.rx)?,
            sealer: Sealer::new(suite, secrets.tx)?,
            suite,
            keys: updatable.then(|| Box::new(keys)),
            update: Vec::new(),
            empty: 0,
            updates: 0,
            warnings: 0,
            renegotiated: false,
            answer_due: false,
            ended: false,
        })
    }

    /// How long the record is with which `bytes` begin, if it is whole.
    pub(super) fn whole(&self, bytes: &[u8]) -> Result<Option<usize>, Broken> {
        let length = self.opener.length(bytes)?;
        Ok(length.filter(|length| *length <= bytes.len()))
    }

    /// How many bytes the record lacks with which `bytes` begin; of one without a whole head, those
    /// that the head lacks.
    pub(super) fn lacks(&self, bytes: &[u8]) -> Result<usize, Broken> {
        let length = self.opener.length(bytes)?;
        Ok(length.unwrap_or(5).saturating_sub(bytes.len()))
    }

    /// Opens a whole record in place. What it makes us say is put into `out`.
    pub(super) fn open(&mut self, record: &mut [u8], out: &mut Outgoing) -> Result<Found, Broken> {
        let (kind, plain) = self.opener.open(record)?;
        if !self.update.is_empty() && kind != ContentType::Handshake {
            return Err(unexpected("a record inside a handshake message"));
        }
        if !plain.is_empty() {
            self.empty = 0;
        } else if self.empty == FRUITLESS_MAX {
            return Err(unexpected("too many empty records"));
        } else {
            self.empty += 1;
        }
        let content = record.get(plain.clone()).unwrap_or_default();
        match kind {
            ContentType::ApplicationData if plain.is_empty() => Ok(Found::Nothing),
            ContentType::ApplicationData => {
                self.updates = 0;
                Ok(Found::Data(plain))
            }
            ContentType::Alert => self.alert(content),
            ContentType::Handshake if self.keys.is_some() => self.key_update(content),
            ContentType::Handshake => self.renegotiation(content, out),
            ContentType::ChangeCipherSpec
            | ContentType::Heartbeat
            | ContentType::Unknown(_)
            | _ => Err(unexpected("a record of a kind that has no place here")),
        }
    }

    fn alert(&mut self, content: &[u8]) -> Result<Found, Broken> {
        let &[level, description] = content else {
            return Err(Broken::Violation(AlertDescription::DecodeError, "a malformed alert"));
        };
        let description = AlertDescription::from(description);
        if description == AlertDescription::CloseNotify {
            return Ok(Found::Closed);
        }
        // TLS 1.3 has no warnings but this one (RFC 8446 §6).
        let harmless = self.keys.is_none() || description == AlertDescription::UserCanceled;
        if level != WARNING || !harmless {
            self.ended = true;
            return Err(Broken::Alerted(description));
        }
        if self.warnings == WARNINGS_MAX {
            return Err(unexpected("too many warnings"));
        }
        self.warnings += 1;
        Ok(Found::Nothing)
    }

    /// The one message that a TLS 1.3 client may send after its handshake (RFC 8446 §4.6.3).
    fn key_update(&mut self, content: &[u8]) -> Result<Found, Broken> {
        self.update.extend_from_slice(content);
        let begun = self.update.len().min(KEY_UPDATE.len());
        if self.update.get(..begun) != KEY_UPDATE.get(..begun) {
            return Err(unexpected("a handshake message that has no place here"));
        }
        let asked = match self.update.get(KEY_UPDATE.len()..).unwrap_or_default() {
            [] => return Ok(Found::Nothing),
            [0] => false,
            [1] => true,
            [_] => {
                let what = "a malformed key update";
                return Err(Broken::Violation(AlertDescription::IllegalParameter, what));
            }
            [..] => return Err(unexpected("a message behind a key update, under the old key")),
        };
        self.update = Vec::new();
        if self.updates == FRUITLESS_MAX {
            return Err(unexpected("too many key updates"));
        }
        self.updates += 1;
        self.answer_due |= asked;
        let keys = self.keys.as_mut().ok_or_else(internal)?;
        let secrets = keys.update_rx_secret().map_err(|_no_key| internal())?;
        self.opener = Opener::new(self.suite, secrets).map_err(|_no_key| internal())?;
        Ok(Found::Nothing)
    }

    /// Refused, and a second time fatal (RFC 5246 §7.2.2: `no_renegotiation` is a warning).
    fn renegotiation(&mut self, content: &[u8], out: &mut Outgoing) -> Result<Found, Broken> {
        if content.first() != Some(&CLIENT_HELLO) || self.renegotiated {
            return Err(unexpected("a handshake message that has no place here"));
        }
        self.renegotiated = true;
        let refusal = [WARNING, u8::from(AlertDescription::NoRenegotiation)];
        if !self.ended {
            out.control(&mut self.sealer, ContentType::Alert, &refusal)
                .map_err(|_no_room| internal())?;
        }
        Ok(Found::Nothing)
    }

    /// Tells the peer of a new key and takes it for what follows.
    fn renew(&mut self, out: &mut Outgoing) -> io::Result<()> {
        let Some(keys) = self.keys.as_mut() else {
            return Err(io::Error::other("the key has sealed as much as it may"));
        };
        out.control(&mut self.sealer, ContentType::Handshake, &KEY_UPDATE_ALONE)?;
        let secrets = keys.update_tx_secret().map_err(io::Error::other)?;
        self.sealer = Sealer::new(self.suite, secrets).map_err(io::Error::other)?;
        Ok(())
    }

    /// Takes data to send, as much as fits.
    ///
    /// # Errors
    /// The connection has ended, or a TLS 1.2 key has sealed as much as it may.
    pub(super) fn push(&mut self, data: &[u8], out: &mut Outgoing) -> io::Result<usize> {
        if self.ended {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.answer_due || self.sealer.is_spent() {
            self.renew(out)?;
            self.answer_due = false;
        }
        out.push(&mut self.sealer, data)
    }

    /// Makes everything in `out` ready to be sent.
    pub(super) fn seal(&mut self, out: &mut Outgoing) -> io::Result<()> {
        out.seal(&mut self.sealer)
    }

    /// Says goodbye, once.
    pub(super) fn close(&mut self, out: &mut Outgoing) -> io::Result<()> {
        self.end(WARNING, AlertDescription::CloseNotify, out)
    }

    /// Tells the peer what it did wrong.
    pub(super) fn refuse(&mut self, why: AlertDescription, out: &mut Outgoing) -> io::Result<()> {
        self.end(FATAL, why, out)
    }

    fn end(&mut self, level: u8, why: AlertDescription, out: &mut Outgoing) -> io::Result<()> {
        if self.ended {
            return Ok(());
        }
        self.ended = true;
        out.control(&mut self.sealer, ContentType::Alert, &[level, u8::from(why)])
    }
}

fn unexpected(what: &'static str) -> Broken {
    Broken::Violation(AlertDescription::UnexpectedMessage, what)
}

fn internal() -> Broken {
    Broken::Violation(AlertDescription::InternalError, "our own keys or buffers failed")
}

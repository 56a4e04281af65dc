//! A client that plays its part of a case and reads whatever comes back.

use std::io::Read;
use std::io::Write;

use super::corpus::Play;
use super::message;
use super::message::Kind;
use super::message::Message;
use crate::harness::wait::DEADLINE;
use crate::harness::wire::Wire;

/// One connection.
#[derive(Debug)]
pub struct Client {
    wire: Wire,
    came: Vec<u8>,
    ended: bool,
}

/// What came for one request.
#[derive(Debug)]
pub struct Came {
    /// How many interim answers.
    pub interim: usize,
    /// The final one, as far as its head says; its content may be cut.
    pub answer: Message,
    /// It was not whole when the connection ended.
    pub cut: bool,
}

impl Client {
    pub fn over(wire: Wire) -> Self {
        Self { wire, came: Vec::new(), ended: false }
    }

    /// Plays a part, in the clear. A proxy that has refused it may not listen to all of it.
    pub fn play(&self, play: &Play) {
        play.to(self.wire.tcp()).ok();
    }

    /// Asks. That the connection is closed shows when nothing is answered.
    pub fn ask(&mut self, request: &str) {
        self.wire.write_all(request.as_bytes()).ok();
        self.wire.flush().ok();
    }

    /// The next final answer; `None` if the connection ends before it begins.
    pub fn answer(&mut self, method: &str) -> Result<Option<Came>, String> {
        let mut interim = 0;
        loop {
            let head = message::read(&self.came, Kind::Bare)?;
            let status = head.as_ref().map_or(0, |(head, _)| head.status());
            let is_bare = method == "HEAD" || matches!(status, 100..200 | 204 | 304);
            let kind = if is_bare { Kind::Bare } else { Kind::Answer { ended: self.ended } };
            match message::read(&self.came, kind)? {
                Some((_, used)) if (100..200).contains(&status) && status != 101 => {
                    self.came.drain(..used);
                    interim += 1;
                }
                Some((answer, used)) => {
                    self.came.drain(..used);
                    return Ok(Some(Came { interim, answer, cut: false }));
                }
                None if !self.ended => self.read()?,
                None => {
                    let came = head.map(|(answer, _)| Came { interim, answer, cut: true });
                    return Ok(came);
                }
            }
        }
    }

    /// What comes until the other side ends the connection.
    pub fn rest(&mut self) -> Result<&[u8], String> {
        while !self.ended {
            self.read()?;
        }
        Ok(&self.came)
    }

    fn read(&mut self) -> Result<(), String> {
        let mut buffer = vec![0; 64 * 1024];
        match self.wire.read(&mut buffer) {
            Ok(0) => self.ended = true,
            Ok(length) => self.came.extend_from_slice(&buffer[..length]),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                return Err(format!("nothing for {DEADLINE:?}"));
            }
            Err(_reset) => self.ended = true,
        }
        Ok(())
    }
}

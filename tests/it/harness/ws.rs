//! A WebSocket client, over TLS or plain.

use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::Message;

use super::wire::Wire;

#[derive(Debug)]
pub struct WebSocket {
    socket: tungstenite::WebSocket<Wire>,
    /// Which target answered the upgrade.
    pub origin: String,
}

impl WebSocket {
    /// Upgrades `wire` at `/ws` of `host`.
    pub fn open(wire: Wire, host: &str) -> Result<Self, String> {
        let url = format!("ws://{host}/ws");
        let (socket, answer) = tungstenite::client(url, wire).map_err(|e| e.to_string())?;
        let origin = answer
            .headers()
            .get("x-origin")
            .and_then(|v| v.to_str().ok());
        Ok(Self { socket, origin: origin.unwrap_or("").to_owned() })
    }

    /// Sends a text and returns what comes back.
    pub fn echo(&mut self, text: &str) -> Result<String, String> {
        self.socket
            .send(Message::text(text))
            .map_err(|e| e.to_string())?;
        self.receive()
    }

    pub fn receive(&mut self) -> Result<String, String> {
        let message = self.socket.read().map_err(|e| e.to_string())?;
        message
            .to_text()
            .map(ToOwned::to_owned)
            .map_err(|e| e.to_string())
    }

    /// Waits for the other side's Close and answers it: its code.
    pub fn close_code(mut self) -> Result<u16, String> {
        let mut code = None;
        loop {
            match self.socket.read() {
                Ok(Message::Close(frame)) => code = frame.map(|frame| frame.code.into()),
                Ok(_) => {}
                Err(tungstenite::Error::ConnectionClosed) => {
                    return code.ok_or_else(|| "no code".to_owned());
                }
                Err(e) => return Err(e.to_string()),
            }
        }
    }

    /// Closes as the protocol wants it: a close frame each way.
    pub fn close(mut self) -> Result<(), String> {
        self.socket.close(None).map_err(|e| e.to_string())?;
        loop {
            match self.socket.read() {
                Ok(_) => {}
                Err(tungstenite::Error::ConnectionClosed) => return Ok(()),
                Err(e) => return Err(e.to_string()),
            }
        }
    }
}

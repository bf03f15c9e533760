//! A WebSocket client as cheap as can be: zero masks, frames found by their headers, payloads borrowed.

use crate::process::Failure;
use socket2::{Domain, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

/// One connection.
pub(crate) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Wire {
    /// Connects from one of eight loopback addresses, so that ports do not run out.
    pub(crate) async fn connect(
        port: u16,
        index: usize,
        path: &str,
        protocol: Option<&str>,
        buffer: usize,
    ) -> Result<Self, Failure> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        let from = Ipv4Addr::new(127, 0, 0, 2 + u8::try_from(index % 8).unwrap_or(0));
        socket.bind(&SocketAddr::from(SocketAddrV4::new(from, 0)).into())?;
        let socket = TcpSocket::from_std_stream(socket.into());
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        let mut wire = Self { stream, buffer: vec![0; buffer], start: 0, end: 0 };
        let protocol =
            protocol.map(|p| format!("Sec-WebSocket-Protocol: {p}\r\n")).unwrap_or_default();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{protocol}\r\n"
        );
        wire.stream.write_all(request.as_bytes()).await?;
        loop {
            let held = &wire.buffer[wire.start..wire.end];
            if let Some(at) = held.windows(4).position(|four| four == b"\r\n\r\n") {
                if !held.starts_with(b"HTTP/1.1 101") {
                    return Err(Failure(String::from_utf8_lossy(&held[..at]).into_owned()));
                }
                wire.start += at + 4;
                return Ok(wire);
            }
            wire.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), Failure> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let read = self.stream.read(&mut self.buffer[self.end..]).await?;
        if read == 0 {
            return Err(Failure("the server closed the connection".to_owned()));
        }
        self.end += read;
        Ok(())
    }

    /// The payload of a buffered frame: opcode, range.
    fn buffered(&mut self) -> Option<(u8, std::ops::Range<usize>)> {
        let held = &self.buffer[self.start..self.end];
        let (opcode, short) = (*held.first()? & 0x0f, usize::from(*held.get(1)? & 0x7f));
        let (header, length) = match short {
            126 => (4, usize::from(u16::from_be_bytes([*held.get(2)?, *held.get(3)?]))),
            127 => {
                let mut wide = [0; 8];
                wide.copy_from_slice(held.get(2..10)?);
                (10, usize::try_from(u64::from_be_bytes(wide)).ok()?)
            }
            _ => (2, short),
        };
        if held.len() < header + length {
            return None;
        }
        let from = self.start + header;
        self.start = from + length;
        Some((opcode, from..from + length))
    }

    /// Waits for the next text frame.
    pub(crate) async fn text(&mut self) -> Result<&[u8], Failure> {
        loop {
            if let Some((opcode, range)) = self.buffered() {
                match opcode {
                    1 => return Ok(&self.buffer[range]),
                    8 => {
                        let words = String::from_utf8_lossy(&self.buffer[range]).into_owned();
                        return Err(Failure(format!("closed: {words:?}")));
                    }
                    _ => continue,
                }
            }
            self.fill().await?;
        }
    }

    /// Waits for bytes, then gives each whole text frame to `each`.
    pub(crate) async fn burst(&mut self, mut each: impl FnMut(&[u8])) -> Result<(), Failure> {
        self.fill().await?;
        while let Some((opcode, range)) = self.buffered() {
            match opcode {
                1 => each(&self.buffer[range]),
                8 => {
                    let words = String::from_utf8_lossy(&self.buffer[range]).into_owned();
                    return Err(Failure(format!("closed: {words:?}")));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Writes framed bytes.
    pub(crate) async fn write(&mut self, framed: &[u8]) -> Result<(), Failure> {
        Ok(self.stream.write_all(framed).await?)
    }
}

/// Frames a text as a client does, with a mask of zeros.
pub(crate) fn frame(text: &str, out: &mut Vec<u8>) {
    out.push(0x81);
    match text.len() {
        length @ 0..=125 => out.push(0x80 | u8::try_from(length).unwrap_or(0)),
        length @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&u16::try_from(length).unwrap_or(0).to_be_bytes());
        }
        length => {
            out.push(0x80 | 127);
            out.extend_from_slice(&u64::try_from(length).unwrap_or(0).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(text.as_bytes());
}

/// Frames a text as a server does.
pub(crate) fn server_frame(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 10);
    out.push(0x81);
    match text.len() {
        length @ 0..=125 => out.push(u8::try_from(length).unwrap_or(0)),
        length @ 126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&u16::try_from(length).unwrap_or(0).to_be_bytes());
        }
        length => {
            out.push(127);
            out.extend_from_slice(&u64::try_from(length).unwrap_or(0).to_be_bytes());
        }
    }
    out.extend_from_slice(text);
    out
}

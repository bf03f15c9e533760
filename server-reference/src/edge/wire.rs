//! The bytes below the frames: a socket as it is, or TLS over it.
//!
//! Both halves of a TLS connection share one session behind a lock that is never held across a
//! wait. Plaintext that the session took may wait in it as ciphertext until the kernel takes it:
//! [`WriteHalf::flush`] tells, and a socket is not at rest before.

use std::{
    cell::RefCell,
    io::{self, IoSlice, Read, Write},
    net::Shutdown,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, ReadBuf},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use tokio_rustls::{rustls::ServerConnection, server::TlsStream};

/// Ciphertext read at once: one record.
const CIPHER_BYTES: usize = 16 * 1024;
/// Plaintext the session takes before the kernel took what it made of it.
const SESSION_BYTES: usize = 64 * 1024;

thread_local! {
    static CIPHER: RefCell<Box<[u8]>> = RefCell::new(vec![0; CIPHER_BYTES].into());
}

/// A connection below HTTP and frames.
pub(crate) struct Wire {
    stream: TcpStream,
    session: Option<Box<ServerConnection>>,
}

impl From<TcpStream> for Wire {
    fn from(stream: TcpStream) -> Self {
        Self { stream, session: None }
    }
}

impl From<TlsStream<TcpStream>> for Wire {
    fn from(stream: TlsStream<TcpStream>) -> Self {
        let (stream, session) = stream.into_inner();
        Self { stream, session: Some(Box::new(session)) }
    }
}

type Session = Arc<Mutex<ServerConnection>>;

fn locked(session: &Session) -> MutexGuard<'_, ServerConnection> {
    // A panic while it was held leaves a session that fails by itself.
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wire {
    pub(crate) fn into_split(self) -> (ReadHalf, WriteHalf) {
        let (read, write) = self.stream.into_split();
        let session = self.session.map(|mut session| {
            session.set_buffer_limit(Some(SESSION_BYTES));
            Arc::new(Mutex::new(*session))
        });
        (ReadHalf { tcp: read, session: session.clone() }, WriteHalf { tcp: write, session })
    }
}

/// What is read.
pub(crate) struct ReadHalf {
    tcp: OwnedReadHalf,
    session: Option<Session>,
}

impl ReadHalf {
    /// Reads; nothing filled is the end. A session may have something to say after: flush it.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(session) = &self.session else {
            return Pin::new(&mut self.tcp).poll_read(cx, into);
        };
        // What came with the handshake or with the upgrade.
        if take(&mut locked(session), into)? {
            return Poll::Ready(Ok(()));
        }
        loop {
            let ended = CIPHER.with_borrow_mut(|buffer| {
                let mut raw = ReadBuf::new(buffer);
                ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut raw))?;
                let mut session = locked(session);
                let mut rest = raw.filled();
                let mut ended = rest.is_empty();
                while !rest.is_empty() {
                    // Behind the peer's goodbye nothing is taken any more, nor does it mean anything.
                    if session.read_tls(&mut rest)? == 0 {
                        ended = true;
                        break;
                    }
                    session
                        .process_new_packets()
                        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                    // Taken out at once: the session holds only so much.
                    ended |= take(&mut session, into)? && into.filled().is_empty();
                }
                Poll::Ready(Ok::<_, io::Error>(ended))
            });
            if ready!(ended)? || !into.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// Takes plaintext out; true: there was some, or the peer has ended.
fn take(session: &mut ServerConnection, into: &mut ReadBuf<'_>) -> io::Result<bool> {
    let mut any = false;
    while into.remaining() > 0 {
        match session.reader().read(into.initialize_unfilled()) {
            Ok(0) => return Ok(true),
            Ok(count) => {
                into.advance(count);
                any = true;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(any)
}

/// What is written.
pub(crate) struct WriteHalf {
    tcp: OwnedWriteHalf,
    session: Option<Session>,
}

impl WriteHalf {
    /// Writes what is taken at once.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is.
    pub(crate) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let Some(session) = &self.session else { return self.tcp.try_write_vectored(slices) };
        let mut session = locked(session);
        self.drain(&mut session)?;
        let taken = session.writer().write_vectored(slices)?;
        // What was taken is never given back: it would be written twice.
        match self.drain(&mut session) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }

    /// Writes what was taken before and waits.
    ///
    /// # Errors
    /// `WouldBlock` while the kernel does not take it.
    pub(crate) fn flush(&self) -> io::Result<()> {
        match &self.session {
            None => Ok(()),
            Some(session) => self.drain(&mut locked(session)),
        }
    }

    /// Sends no more; the peer reads an end behind what was written.
    pub(crate) fn shut_down(&self) -> io::Result<()> {
        if let Some(session) = &self.session {
            let mut session = locked(session);
            session.send_close_notify();
            // A full kernel keeps the goodbye back; the end follows anyway.
            let _ = self.drain(&mut session);
        }
        socket2::SockRef::from(self.tcp.as_ref()).shutdown(Shutdown::Write)
    }

    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp.as_ref().poll_write_ready(cx)
    }

    fn drain(&self, session: &mut ServerConnection) -> io::Result<()> {
        while session.wants_write() {
            match session.write_tls(&mut Out(&self.tcp)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                written => {
                    written?;
                }
            }
        }
        Ok(())
    }
}

/// The kernel, as rustls writes to it.
struct Out<'a>(&'a OwnedWriteHalf);

impl Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        some(self.0.try_write(bytes)?)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        some(self.0.try_write_vectored(slices)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A kernel that takes nothing and does not say so would be asked for ever.
fn some(count: usize) -> io::Result<usize> {
    if count == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(count) }
}

//! The limit: pre-framed bytes, one write per turn of the loop, no protocol.

use super::Rooms;
use crate::{process::Failure, wire::server_frame};
use bytes::Bytes;
use std::{cell::RefCell, collections::VecDeque, io, rc::Rc};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::LocalSet,
};

#[derive(Default)]
struct Member {
    queue: RefCell<VecDeque<Bytes>>,
    wake: Notify,
}

impl Member {
    fn push(&self, frame: Bytes) {
        self.queue.borrow_mut().push_back(frame);
        self.wake.notify_one();
    }
}

/// Serves until killed.
pub(crate) fn run() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("listening on {}", listener.local_addr()?);
        let rooms: Rc<RefCell<Rooms<Rc<Member>>>> = Rc::default();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let rooms = Rc::clone(&rooms);
            tokio::task::spawn_local(async move {
                let _ = serve(stream, rooms).await;
            });
        }
    })
}

async fn serve(stream: TcpStream, rooms: Rc<RefCell<Rooms<Rc<Member>>>>) -> io::Result<()> {
    let own = Rc::new(Member::default());
    let mut input = Vec::new();
    let mut upgraded = false;
    loop {
        tokio::select! {
            ready = stream.readable() => {
                ready?;
                let mut chunk = [0; 16 * 1024];
                loop {
                    match stream.try_read(&mut chunk) {
                        Ok(0) => return Ok(()),
                        Ok(count) => input.extend_from_slice(&chunk[..count]),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                        Err(error) => return Err(error),
                    }
                }
                if !upgraded {
                    let Some(at) = input.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
                    input.drain(..at + 4);
                    upgraded = true;
                    // The accept value of the one key the generator uses.
                    own.push(Bytes::from_static(
                        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                          Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
                    ));
                }
                let used = handle(&input, &own, &rooms);
                input.drain(..used);
                if input.is_empty() && input.capacity() > 4096 {
                    input = Vec::new();
                }
            }
            () = own.wake.notified() => {}
        }
        flush(&stream, &own).await?;
    }
}

/// One vectored write per turn.
async fn flush(stream: &TcpStream, own: &Member) -> io::Result<()> {
    loop {
        let written = {
            let queue = own.queue.borrow();
            if queue.is_empty() {
                return Ok(());
            }
            let slices: Vec<_> =
                queue.iter().take(64).map(|frame| io::IoSlice::new(frame)).collect();
            stream.try_write_vectored(&slices)
        };
        match written {
            Ok(mut count) => {
                let mut queue = own.queue.borrow_mut();
                while let Some(front) = queue.front_mut() {
                    if count < front.len() {
                        let _ = front.split_to(count);
                        break;
                    }
                    count -= front.len();
                    queue.pop_front();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) => return Err(error),
        }
    }
}

/// Handles whole frames with a mask of zeros; gives the bytes used.
fn handle(input: &[u8], own: &Rc<Member>, rooms: &Rc<RefCell<Rooms<Rc<Member>>>>) -> usize {
    let mut at = 0;
    loop {
        let rest = &input[at..];
        let Some(short) = rest.get(1).map(|byte| usize::from(byte & 0x7f)) else { return at };
        let (header, length) = match short {
            126 if rest.len() >= 4 => (8, usize::from(u16::from_be_bytes([rest[2], rest[3]]))),
            126 | 127 => return at,
            _ => (6, short),
        };
        let Some(text) = rest.get(header..header + length) else { return at };
        at += header + length;
        match text.first() {
            Some(b'J') => {
                let room = String::from_utf8_lossy(&text[1..]).into_owned();
                rooms.borrow_mut().entry(room).or_default().push(Rc::clone(own));
                own.push(server_frame(b"J").into());
            }
            Some(b'P') => {
                let Some(blank) = text.iter().position(|byte| *byte == b' ') else { continue };
                let room = String::from_utf8_lossy(&text[1..blank]);
                let mut out = vec![b'D'];
                out.extend_from_slice(&text[blank + 1..]);
                let frame = Bytes::from(server_frame(&out));
                if let Some(members) = rooms.borrow().get(&*room) {
                    members.iter().for_each(|member| member.push(frame.clone()));
                }
            }
            Some(b'E') => own.push(server_frame(text).into()),
            _ => {}
        }
    }
}

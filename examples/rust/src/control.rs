//! What the dashboard's buttons ask of the demo: restart the server, or kill it. On this machine only, behind a key.

use std::{io, net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
};

/// Longest request that is read.
const REQUEST: usize = 4096;
/// How long a request may take to arrive.
const WITHIN: Duration = Duration::from_secs(5);

/// What is wanted, and who waits for it.
#[derive(Debug)]
pub enum Order {
    /// As a deployment does, by SIGTERM.
    Restart(oneshot::Sender<bool>),
    /// As a crash does, by -9.
    Kill(oneshot::Sender<bool>),
}

/// Where orders are taken: `POST <url>/restart` and `POST <url>/kill`.
#[derive(Debug)]
pub struct Control {
    url: String,
}

impl Control {
    /// Listens on a free port and passes orders on, one at a time.
    ///
    /// # Errors
    /// No port or no randomness can be had.
    pub async fn open(orders: mpsc::Sender<Order>) -> io::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let key: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let url = format!("http://{}/{key}", listener.local_addr()?);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (key, orders) = (key.clone(), orders.clone());
                tokio::spawn(async move {
                    // Who goes away before the answer needs none.
                    let _ = tokio::time::timeout(WITHIN * 12, answer(stream, &key, &orders)).await;
                });
            }
        });
        Ok(Self { url })
    }

    /// What comes before `/restart` and `/kill`; holds the key.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

async fn answer(mut stream: TcpStream, key: &str, orders: &mpsc::Sender<Order>) -> io::Result<()> {
    let mut bytes = Vec::new();
    let read = async {
        while !bytes.windows(4).any(|end| end == b"\r\n\r\n") && bytes.len() < REQUEST {
            if stream.read_buf(&mut bytes).await? == 0 {
                break;
            }
        }
        io::Result::Ok(())
    };
    tokio::time::timeout(WITHIN, read).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let text = String::from_utf8_lossy(&bytes);
    let mut words = text.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let order = path.strip_prefix('/').and_then(|path| path.strip_prefix(key));
    let (tell, done) = oneshot::channel();
    let status = match (method, order) {
        ("OPTIONS", _) => "204 No Content",
        ("POST", Some("/restart")) => ask(orders, Order::Restart(tell), done).await,
        ("POST", Some("/kill")) => ask(orders, Order::Kill(tell), done).await,
        _ => "404 Not Found",
    };
    let head = format!(
        "HTTP/1.1 {status}\r\naccess-control-allow-origin: *\r\naccess-control-allow-methods: POST\r\n\
         content-length: 0\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    stream.shutdown().await
}

async fn ask(
    orders: &mpsc::Sender<Order>,
    order: Order,
    done: oneshot::Receiver<bool>,
) -> &'static str {
    if orders.send(order).await.is_ok() && done.await == Ok(true) {
        "204 No Content"
    } else {
        "500 Internal Server Error"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn say(url: &str, request: &str) -> String {
        let host = url.trim_start_matches("http://").split('/').next().unwrap().to_owned();
        let mut stream = TcpStream::connect(host).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn an_order_needs_the_key_and_is_answered_when_it_is_done() {
        let (orders, mut taken) = mpsc::channel(1);
        let control = Control::open(orders).await.unwrap();
        let key = control.url().rsplit('/').next().unwrap().to_owned();
        let wrong = say(control.url(), "POST /0000/restart HTTP/1.1\r\n\r\n").await;
        assert!(wrong.starts_with("HTTP/1.1 404"), "{wrong}");
        assert!(taken.try_recv().is_err());
        let doing = tokio::spawn(async move {
            let Some(Order::Kill(done)) = taken.recv().await else { panic!("another order") };
            done.send(true).unwrap();
        });
        let right = say(control.url(), &format!("POST /{key}/kill HTTP/1.1\r\n\r\n")).await;
        assert!(right.starts_with("HTTP/1.1 204"), "{right}");
        doing.await.unwrap();
    }
}

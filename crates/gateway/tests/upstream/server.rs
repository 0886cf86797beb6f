//! HTTP/1.1 by hand, so that every byte and every silence is the test's own.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// One step of a reply.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Status and headers; the body is chunked from here on.
    Head(u16, Vec<(&'static str, String)>),
    /// One chunk of the body.
    Send(Vec<u8>),
    /// Bytes as they are, in no frame.
    Raw(Vec<u8>),
    /// Silence for a while.
    Wait(Duration),
    /// Silence until the caller closes the connection.
    Hang,
    /// Closes the connection without the end of the body.
    Cut,
    /// Resets the connection.
    Reset,
}

/// What one request is answered with.
#[derive(Debug, Clone)]
pub(crate) struct Reply(pub(crate) Vec<Step>);

impl Reply {
    /// A status and a body, as errors come.
    pub(crate) fn status(status: u16, headers: Vec<(&'static str, String)>, body: &str) -> Reply {
        Reply(vec![Step::Head(status, headers), Step::Send(body.as_bytes().to_vec())])
    }

    /// The start of a streamed reply; steps are added with [`Reply::then`].
    pub(crate) fn stream() -> Reply {
        Reply(vec![Step::Head(200, vec![("content-type", "text/event-stream".to_owned())])])
    }

    /// The same reply and one more step.
    pub(crate) fn then(mut self, step: Step) -> Reply {
        self.0.push(step);
        self
    }

    /// The same reply and one more chunk.
    pub(crate) fn send(self, bytes: Vec<u8>) -> Reply {
        self.then(Step::Send(bytes))
    }
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Request line and headers as they came.
    pub(crate) head: String,
    /// The body.
    pub(crate) body: Value,
}

/// The provider. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// What a deployment's `base_url` is set to.
    pub(crate) base_url: String,
    requests: Arc<Mutex<Vec<Request>>>,
    hung_up: watch::Receiver<usize>,
    server: JoinHandle<()>,
}

impl Upstream {
    /// Listens on a free port and answers the n-th request with the n-th reply, the last one over and over.
    pub(crate) async fn start(replies: Vec<Reply>) -> Upstream {
        Upstream::start_with(move |number| replies[number.min(replies.len() - 1)].clone()).await
    }

    /// Listens on a free port and answers the n-th request, from 0, with what `reply` says.
    pub(crate) async fn start_with(reply: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1/", listener.local_addr().unwrap());
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let (hang_up, hung_up) = watch::channel(0);
        let (seen, reply) = (Arc::clone(&requests), Arc::new(reply));
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                while connections.try_join_next().is_some() {}
                // A caller that leaves in the middle is what some tests are about.
                let (seen, hang_up, reply) = (Arc::clone(&seen), hang_up.clone(), Arc::clone(&reply));
                connections.spawn(async move { serve(socket, &*reply, &seen, &hang_up).await.ok() });
            }
        });
        Upstream { base_url, requests, hung_up, server }
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Waits until `count` callers have closed their connection during [`Step::Hang`].
    pub(crate) async fn hung_up(&self, count: usize) {
        self.hung_up.clone().wait_for(|hung_up| *hung_up >= count).await.unwrap();
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(
    mut socket: TcpStream,
    reply: &(dyn Fn(usize) -> Reply + Send + Sync),
    seen: &Mutex<Vec<Request>>,
    hang_up: &watch::Sender<usize>,
) -> io::Result<()> {
    let request = read(&mut socket).await?;
    // Numbered by when they were read: a connection that asks nothing has no number.
    let number = {
        let mut seen = seen.lock().unwrap();
        seen.push(request);
        seen.len() - 1
    };
    for step in reply(number).0 {
        match step {
            Step::Head(status, headers) => {
                let mut head =
                    format!("HTTP/1.1 {status} Scripted\r\ntransfer-encoding: chunked\r\nconnection: close\r\n");
                for (name, value) in headers {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                socket.write_all(format!("{head}\r\n").as_bytes()).await?;
            }
            Step::Send(bytes) => {
                let chunk = [format!("{:x}\r\n", bytes.len()).as_bytes(), &bytes, b"\r\n"].concat();
                socket.write_all(&chunk).await?;
                socket.flush().await?;
            }
            Step::Raw(bytes) => socket.write_all(&bytes).await?,
            Step::Wait(pause) => tokio::time::sleep(pause).await,
            Step::Hang => {
                // The caller has nothing left to say: what can be read is the end.
                let _ = socket.read(&mut [0; 1]).await;
                hang_up.send_modify(|count| *count += 1);
                return Ok(());
            }
            Step::Cut => return Ok(()),
            Step::Reset => return socket.set_zero_linger(),
        }
    }
    socket.write_all(b"0\r\n\r\n").await?;
    socket.shutdown().await
}

async fn read(socket: &mut TcpStream) -> io::Result<Request> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = head
                .lines()
                .find_map(|line| {
                    line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok()
                })
                .unwrap_or(0);
            if bytes.len() >= end + 4 + length {
                let body = serde_json::from_slice(&bytes[end + 4..end + 4 + length]).unwrap_or(Value::Null);
                return Ok(Request { head, body });
            }
        }
        if socket.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

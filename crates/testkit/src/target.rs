//! A target on a port of its own that answers as a closure says and remembers what it was asked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::hostile::Hostile;

/// Bytes of a request's head and body that are read.
const REQUEST_BYTES_MAX: usize = 1 << 20;

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// GET, POST, CONNECT, …
    pub method: String,
    /// What stood between method and version.
    pub target: String,
    /// Header lines in order, names as sent.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
    /// When its head was complete.
    pub at: Instant,
    /// Number of the connection it came on, from 0.
    pub connection: usize,
}

impl Recorded {
    /// First value of a header, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

/// What a target answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A complete response with a Content-Length.
    Page {
        /// Status code.
        status: u16,
        /// Header lines.
        headers: Vec<(String, String)>,
        /// Body.
        body: Vec<u8>,
    },
    /// Something else.
    Hostile(Hostile),
    /// The connection is closed without a word.
    Hangup,
}

impl Answer {
    /// 200 with text format 0.0.4.
    #[must_use]
    pub fn text(body: impl Into<Vec<u8>>) -> Self {
        Answer::page("text/plain; version=0.0.4; charset=utf-8", body)
    }

    /// 200 with any content type.
    #[must_use]
    pub fn page(content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("Content-Type".to_string(), content_type.to_string())];
        Answer::Page { status: 200, headers, body: body.into() }
    }

    /// A redirect.
    #[must_use]
    pub fn redirect(status: u16, location: &str) -> Self {
        Answer::Page {
            status,
            headers: vec![("Location".to_string(), location.to_string())],
            body: Vec::new(),
        }
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        if let Answer::Page { headers, .. } = &mut self {
            headers.push((name.to_string(), value.to_string()));
        }
        self
    }

    /// The same with another status.
    #[must_use]
    pub fn status(mut self, code: u16) -> Self {
        if let Answer::Page { status, .. } = &mut self {
            *status = code;
        }
        self
    }
}

type Behaviour = dyn Fn(&Recorded) -> Answer + Send + Sync;

/// A running target. It stops when dropped.
pub struct FakeTarget {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Recorded>>>,
    task: JoinHandle<()>,
}

impl Drop for FakeTarget {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeTarget {
    /// A target on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No free port.
    pub async fn start(
        behaviour: impl Fn(&Recorded) -> Answer + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        FakeTarget::start_on("127.0.0.1:0", behaviour).await
    }

    /// A target on an address.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start_on(
        address: &str,
        behaviour: impl Fn(&Recorded) -> Answer + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let requests: Arc<Mutex<Vec<Recorded>>> = Arc::default();
        let (behaviour, recorded): (Arc<Behaviour>, _) = (Arc::new(behaviour), Arc::clone(&requests));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            for number in 0.. {
                let Ok((stream, _)) = listener.accept().await else { break };
                let (behaviour, recorded) = (Arc::clone(&behaviour), Arc::clone(&recorded));
                // A peer that goes away ends its connection only.
                connections.spawn(async move {
                    let _ = converse(stream, &*behaviour, &recorded, number).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(FakeTarget { address, requests, task })
    }

    /// `127.0.0.1:port`.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// `http://127.0.0.1:port` followed by a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.requests.lock().clone()
    }

    /// The last request.
    #[must_use]
    pub fn last_request(&self) -> Option<Recorded> {
        self.requests.lock().last().cloned()
    }
}

async fn converse(
    mut stream: TcpStream,
    behaviour: &Behaviour,
    recorded: &Mutex<Vec<Recorded>>,
    connection: usize,
) -> std::io::Result<()> {
    let mut input = Vec::new();
    loop {
        let Some(request) = read_request(&mut stream, &mut input, connection).await? else { return Ok(()) };
        recorded.lock().push(request.clone());
        match behaviour(&request) {
            Answer::Page { status, headers, body } => {
                let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status));
                for (name, value) in &headers {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
                // In one: the second of two small writes waits for an acknowledgement.
                stream.write_all(&[head.as_bytes(), &body].concat()).await?;
                stream.flush().await?;
            }
            Answer::Hostile(hostile) => return hostile.play(&mut stream, &request).await,
            Answer::Hangup => return Ok(()),
        }
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        301 => "Moved Permanently",
        302 => "Found",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        401 => "Unauthorized",
        404 => "Not Found",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Status",
    }
}

/// The next request; `None` at the end of the connection.
pub(crate) async fn read_request(
    stream: &mut TcpStream,
    input: &mut Vec<u8>,
    connection: usize,
) -> std::io::Result<Option<Recorded>> {
    let find = |input: &[u8]| input.windows(4).position(|w| w == b"\r\n\r\n");
    let head_end = loop {
        if let Some(at) = find(input) {
            break at + 4;
        }
        if input.len() > REQUEST_BYTES_MAX || stream.read_buf(input).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&input[..head_end]).into_owned();
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().splitn(3, ' ').map(str::to_string);
    let (method, target) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_string(), value.trim().to_string()))
        .collect();
    let mut request = Recorded { method, target, headers, body: Vec::new(), at: Instant::now(), connection };
    let length: usize = request.header("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
    let end = head_end + length.min(REQUEST_BYTES_MAX);
    while input.len() < end {
        if stream.read_buf(input).await? == 0 {
            return Ok(None);
        }
    }
    request.body = input[head_end..end].to_vec();
    input.drain(..end);
    Ok(Some(request))
}

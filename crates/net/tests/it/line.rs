//! Answers on a line of one's own, byte by byte beside hyper's client, which they must agree with.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use config::{BasicAuth, HttpClientConfig};
use http::{HeaderMap, Uri};
use net::{BodyLimits, BodyPool, HttpClient, Line, ReadOptions};
use testkit::{Answer, FakeTarget};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{client, get};

/// Serves connection after connection: reads a request, sends the answer in pieces, and closes if told to.
async fn raw(answer: Vec<u8>, piece: usize, close: bool) -> (Uri, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/m", listener.local_addr().unwrap()).parse().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::Relaxed);
            let answer = answer.clone();
            tokio::spawn(async move {
                stream.set_nodelay(true).unwrap();
                let mut request = Vec::new();
                while let Ok(byte) = stream.read_u8().await {
                    request.push(byte);
                    if !request.ends_with(b"\r\n\r\n") {
                        continue;
                    }
                    request.clear();
                    for piece in answer.chunks(piece) {
                        if stream.write_all(piece).await.is_err() {
                            return;
                        }
                        tokio::task::yield_now().await;
                    }
                    if close {
                        return;
                    }
                }
            });
        }
    });
    (uri, connections)
}

fn pool() -> BodyPool {
    BodyPool::new(BodyLimits::default())
}

async fn by_line(
    client: &HttpClient,
    line: &mut Line,
    pool: &BodyPool,
    uri: &Uri,
) -> Result<(u16, String), String> {
    let options = ReadOptions { limit_bytes: 1 << 20, ..ReadOptions::default() };
    let reply = client.get(line, pool, uri, HeaderMap::new()).await.map_err(|e| e.to_string())?;
    let status = reply.status().as_u16();
    let body = pool.read(reply, options).await.map_err(|e| e.to_string())?;
    Ok((status, String::from_utf8(body.to_vec()).unwrap()))
}

async fn by_hyper(client: &HttpClient, pool: &BodyPool, uri: &Uri) -> Result<(u16, String), String> {
    let options = ReadOptions { limit_bytes: 1 << 20, ..ReadOptions::default() };
    let reply = client.send(get(&uri.to_string())).await.map_err(|e| e.to_string())?;
    let status = reply.status().as_u16();
    let body = pool.read(reply, options).await.map_err(|e| e.to_string())?;
    Ok((status, String::from_utf8(body.to_vec()).unwrap()))
}

#[tokio::test]
async fn answers_are_read_as_hyper_reads_them() {
    let ok = "HTTP/1.1 200 OK\r\n";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let long = "x".repeat(70_000);
    let cases: Vec<(String, bool)> = vec![
        (format!("{ok}Content-Length: 4\r\n\r\na 1\n"), false),
        (format!("{ok}Content-Length: 4\r\n\r\na 1"), true),
        (format!("{ok}Content-Length: 0\r\n\r\n"), false),
        (format!("{ok}\r\nuntil close"), true),
        ("HTTP/1.0 200 OK\r\n\r\nold".to_string(), true),
        (format!("{chunked}4\r\na 1\n\r\n4;x=\"y\"\r\nb 2\n\r\n0\r\n\r\n"), false),
        (format!("{chunked}4\r\na 1\n\r\n0\r\nTrailer: x\r\nY: z\r\n\r\n"), false),
        (format!("{chunked}{:X}\r\n{long}\r\n0\r\n\r\n", long.len()), false),
        (format!("{chunked}4\r\na 1\n\r\n"), true),
        (format!("{chunked}4\r\na 1"), true),
        (format!("{chunked}4\r\na 1\nX\r\n0\r\n\r\n"), true),
        (format!("{chunked}\r\n"), true),
        (format!("{chunked}zz\r\n"), true),
        (format!("{chunked}fffffffffffffffff\r\n"), true),
        (format!("HTTP/1.1 100 Continue\r\n\r\n{ok}Content-Length: 4\r\n\r\na 1\n"), false),
        ("HTTP/1.1 204 No Content\r\n\r\n".to_string(), false),
        ("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno".to_string(), false),
        (format!("{ok}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), true),
        (format!("{ok}Broken"), true),
        ("ssh-2.0 hello\r\n".to_string(), true),
        (format!("{ok}X: {}\r\n\r\n", "y".repeat(80_000)), true),
        (format!("{ok}{}\r\n", "a: b\r\n".repeat(300)), true),
        (String::new(), true),
    ];
    let (client, pool) = (client(&HttpClientConfig::default()), pool());
    for (answer, close) in cases {
        for piece in [1, 7, usize::MAX] {
            if piece < 10 && answer.len() > 10_000 {
                continue;
            }
            let (uri, connections) = raw(answer.clone().into_bytes(), piece, close).await;
            let want = by_hyper(&client, &pool, &uri).await;
            let before = connections.load(Ordering::Relaxed);
            let mut line = Line::default();
            for _ in 0..3 {
                let own = by_line(&client, &mut line, &pool, &uri).await;
                match (&want, &own) {
                    (Ok(want), Ok(own)) => assert_eq!(want, own, "{answer:.300} by {piece}"),
                    (Err(_), Err(_)) => {}
                    (want, own) => panic!("{answer:.300} by {piece}: {want:?} and {own:?}"),
                }
            }
            let made = connections.load(Ordering::Relaxed) - before;
            assert_eq!(made, if close { 3 } else { 1 }, "{answer:.300} by {piece}");
        }
    }
}

#[tokio::test]
async fn what_follows_an_answer_unasked_ends_the_connection() {
    let answer =
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb";
    let (client, pool, mut line) = (client(&HttpClientConfig::default()), pool(), Line::default());
    for piece in [1, usize::MAX] {
        let (uri, _) = raw(answer.to_vec(), piece, false).await;
        for _ in 0..3 {
            assert_eq!(by_line(&client, &mut line, &pool, &uri).await, Ok((200, "a".to_string())));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn a_line_is_kept_and_one_that_was_closed_is_made_anew() {
    let (client, pool, mut line) = (client(&HttpClientConfig::default()), pool(), Line::default());
    let answers = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&answers);
    let target = FakeTarget::start(move |_| match counter.fetch_add(1, Ordering::Relaxed) {
        0..3 => Answer::text("ok"),
        n if n % 2 == 1 => Answer::Hangup,
        _ => Answer::text("ok"),
    })
    .await
    .unwrap();
    let uri = target.url("/").parse().unwrap();
    for _ in 0..3 {
        assert_eq!(by_line(&client, &mut line, &pool, &uri).await, Ok((200, "ok".to_string())));
    }
    assert!(target.requests().iter().all(|r| r.connection == 0), "one connection for all");
    for _ in 0..3 {
        assert_eq!(by_line(&client, &mut line, &pool, &uri).await, Ok((200, "ok".to_string())));
    }
    // A connection that never gave an answer is not tried again.
    let target = FakeTarget::start(|_| Answer::Hangup).await.unwrap();
    let uri: Uri = target.url("/").parse().unwrap();
    let error = by_line(&client, &mut Line::default(), &pool, &uri).await.unwrap_err();
    assert_eq!(error, format!("Get {:?}: EOF", uri.to_string()));
    assert_eq!(target.requests().len(), 1);
}

#[tokio::test]
async fn an_exchange_that_was_given_up_leaves_nothing_behind() {
    let (client, pool, mut line) = (client(&HttpClientConfig::default()), pool(), Line::default());
    let (slow, _) = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf".to_vec(), 100, false).await;
    for _ in 0..2 {
        let asked = by_line(&client, &mut line, &pool, &slow);
        assert!(tokio::time::timeout(Duration::from_millis(100), asked).await.is_err());
    }
    let target = FakeTarget::start(|_| Answer::text("ok")).await.unwrap();
    let uri = target.url("/").parse().unwrap();
    assert_eq!(by_line(&client, &mut line, &pool, &uri).await, Ok((200, "ok".to_string())));
}

#[tokio::test]
async fn credentials_go_out_and_redirects_are_followed() {
    let target = FakeTarget::start(|r| match r.target.as_str() {
        "/away" => Answer::redirect(302, "/here"),
        _ => Answer::text("here"),
    })
    .await
    .unwrap();
    let basic = BasicAuth { username: "u".to_string(), ..BasicAuth::default() };
    let config = HttpClientConfig { basic_auth: Some(basic), ..HttpClientConfig::default() };
    let (following, pool, mut line) = (client(&config), pool(), Line::default());
    let uri = target.url("/away").parse().unwrap();
    for asked in [3, 5] {
        assert_eq!(by_line(&following, &mut line, &pool, &uri).await, Ok((200, "here".to_string())));
        // The first time the line has to find out.
        assert_eq!(target.requests().len(), asked);
    }
    assert!(target.requests().iter().all(|r| r.header("authorization") == Some("Basic dTo=")));
    let staying = client(&HttpClientConfig { follow_redirects: false, ..HttpClientConfig::default() });
    let (status, _) = by_line(&staying, &mut Line::default(), &pool, &uri).await.unwrap();
    assert_eq!(status, 302);
}

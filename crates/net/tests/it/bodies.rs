//! Bodies: encodings, limits, bombs.

use std::time::Duration;

use config::HttpClientConfig;
use net::{BodyError, BodyLimits, BodyPool, Line, PooledBody, ReadOptions};
use testkit::{Answer, FakeTarget, Hostile};

use crate::{client, get};

const LIMITS: BodyLimits = BodyLimits { body_bytes_max: 8 << 20, in_flight_bytes_max: 16 << 20 };

/// Both ways, which must agree: through hyper's pool and on a line of one's own.
async fn read(answer: Answer, options: ReadOptions) -> Result<PooledBody, BodyError> {
    let target = FakeTarget::start(move |_| answer.clone()).await.unwrap();
    let (client, pool, mut line) =
        (client(&HttpClientConfig::default()), BodyPool::new(LIMITS), Line::default());
    let limit = Duration::from_secs(30);
    let response = client.send(get(&target.url("/"))).await.unwrap();
    let pooled = tokio::time::timeout(limit, pool.read(response, options)).await.unwrap();
    let uri = target.url("/").parse().unwrap();
    let reply = client.get(&mut line, &pool, &uri, http::HeaderMap::new()).await.unwrap();
    let own = tokio::time::timeout(limit, pool.read(reply, options)).await.unwrap();
    match (&pooled, &own) {
        (Ok(pooled), Ok(own)) => assert!(**pooled == **own),
        (pooled, own) => assert_eq!(pooled.as_ref().err(), own.as_ref().err()),
    }
    own
}

fn limit(limit_bytes: u64) -> ReadOptions {
    ReadOptions { limit_bytes, zstd: true, ..ReadOptions::default() }
}

#[tokio::test]
async fn every_encoding_gives_the_same_page() {
    let page: Vec<u8> = (0..100_000).flat_map(|i| format!("m{{i=\"{i}\"}} {i}\n").into_bytes()).collect();
    for (encoding, body) in [
        ("identity", page.clone()),
        ("gzip", testkit::gzip(&page)),
        ("gzip", [testkit::gzip(&page[..500]), testkit::gzip(&page[500..])].concat()),
        ("zstd", testkit::zstd(&page)),
        ("zstd", [testkit::zstd(&page[..500]), testkit::zstd(&page[500..])].concat()),
    ] {
        for options in [limit(0), limit(page.len() as u64 + 1)] {
            let answer = Answer::text(body.clone()).with("Content-Encoding", encoding);
            assert!(*read(answer, options).await.unwrap() == page[..], "{encoding}");
        }
        // Exactly as many bytes as the limit is too many, as upstream has it.
        let answer = Answer::text(body.clone()).with("Content-Encoding", encoding);
        let result = read(answer, limit(page.len() as u64)).await;
        assert_eq!(result.err(), Some(BodyError::TooLarge), "{encoding}");
    }
    let answer = Answer::text(testkit::zstd(&page)).with("Content-Encoding", "zstd");
    let error = read(answer, ReadOptions::default()).await.err().unwrap().to_string();
    assert!(error.contains("\"zstd-scrape\" feature flag is not enabled"), "{error}");
}

#[tokio::test]
async fn a_buffer_that_is_used_again_shows_nothing_of_its_last_user() {
    let pool = BodyPool::new(LIMITS);
    let large = b"secret 1\n".repeat(20_000);
    for (encoding, body) in [
        ("gzip", testkit::gzip(b"a 1\n")),
        ("gzip", [testkit::gzip(b"a "), testkit::gzip(b"1\n")].concat()),
        ("identity", b"a 1\n".to_vec()),
        ("zstd", testkit::zstd(b"a 1\n")),
    ] {
        for (body, want, most) in [(testkit::gzip(&large), &large[..], 0), (body, b"a 1\n", 5)] {
            let coding = if most == 0 { "gzip" } else { encoding };
            let answer = Answer::text(body).with("Content-Encoding", coding);
            let target = FakeTarget::start(move |_| answer.clone()).await.unwrap();
            let response = client(&HttpClientConfig::default()).send(get(&target.url("/"))).await.unwrap();
            assert!(*pool.read(response, limit(most)).await.unwrap() == *want, "{encoding}");
        }
    }
}

#[tokio::test]
async fn bombs_stop_at_the_limit() {
    for hostile in [
        Hostile::EndlessBody,
        Hostile::HugeLine(1 << 40),
        Hostile::EndlessLabel,
        Hostile::GzipBomb(1 << 40),
        Hostile::GzipLines(1 << 40),
        Hostile::ZstdBomb(1 << 40),
    ] {
        let result = read(Answer::Hostile(hostile.clone()), limit(1 << 20)).await;
        assert_eq!(result.err(), Some(BodyError::TooLarge), "{hostile:?}");
        let result = read(Answer::Hostile(hostile.clone()), limit(0)).await;
        let hard = BodyError::HardLimit { limit_bytes: LIMITS.body_bytes_max };
        assert_eq!(result.err(), Some(hard), "{hostile:?}");
    }
}

#[tokio::test]
async fn broken_bodies_say_what_is_wrong() {
    let page = testkit::gzip(b"x 1\n");
    let mut flipped = page.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let mut cut = page.clone();
    cut.pop();
    let zstd = testkit::zstd(&b"x 1\n".repeat(1000));
    for (answer, text) in [
        (Answer::Hostile(Hostile::ClosedMidBody), "unexpected EOF"),
        (Answer::Hostile(Hostile::ClosedMidGzip), "unexpected EOF"),
        (Answer::Hostile(Hostile::GzipHeader(1 << 40)), "gzip: invalid header"),
        (Answer::text(cut).with("Content-Encoding", "gzip"), "unexpected EOF"),
        (Answer::text(flipped).with("Content-Encoding", "gzip"), "gzip: invalid checksum"),
        (Answer::text("plain").with("Content-Encoding", "gzip"), "unexpected EOF"),
        (Answer::text("plain text page").with("Content-Encoding", "gzip"), "gzip: invalid header"),
        (Answer::text(&zstd[..zstd.len() - 3]).with("Content-Encoding", "zstd"), "unexpected EOF"),
        (Answer::text("plain text").with("Content-Encoding", "zstd"), "zstd: "),
    ] {
        let error = read(answer, limit(0)).await.err().unwrap().to_string();
        assert!(error.starts_with(text), "{error}, not {text}");
    }
    // A window of 128 MiB in a frame of a few bytes.
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    std::io::Write::write_all(&mut encoder, &vec![7; 20 << 20]).unwrap();
    let body = encoder.finish().unwrap();
    let error = read(Answer::text(body).with("Content-Encoding", "zstd"), limit(0)).await.err().unwrap();
    assert!(matches!(error, BodyError::Encoding(_)), "{error}");
}

#[tokio::test]
async fn large_bodies_share_an_account_and_small_ones_do_not_need_it() {
    let page = vec![b'x'; 7 << 20];
    let big = FakeTarget::start(move |_| Answer::text(page.clone())).await.unwrap();
    let small = FakeTarget::start(|_| Answer::text("small")).await.unwrap();
    let client = client(&HttpClientConfig::default());
    // A buffer of 8 MiB each, all but the free quarter of a MiB on the account: two fit, the third waits and
    // gives up.
    let pool = BodyPool::new(BodyLimits { body_bytes_max: 8 << 20, in_flight_bytes_max: 17 << 20 });
    let fetch = || async {
        let response = client.send(get(&big.url("/"))).await.unwrap();
        pool.read(response, ReadOptions::default()).await
    };
    let (a, b) = (fetch().await.unwrap(), fetch().await.unwrap());
    assert!(matches!(fetch().await, Err(BodyError::NoMemory { .. })));
    let response = client.send(get(&small.url("/"))).await.unwrap();
    assert_eq!(&*pool.read(response, ReadOptions::default()).await.unwrap(), b"small");
    drop(a);
    assert_eq!(fetch().await.unwrap().len(), 7 << 20);
    drop(b);
}

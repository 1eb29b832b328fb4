//! Remote write and remote read through the router.

use model::Labels;
use remote::encode::{OutSeries, snappy, write_v1, write_v2};

use crate::parts::{START_MS, get, request, send, server};

fn one(name: &str, t_ms: i64) -> Vec<OutSeries> {
    let labels = Labels::from_pairs([("__name__", name), ("a", "b")]);
    vec![OutSeries { labels, samples: vec![(t_ms, 4.5)], ..OutSeries::default() }]
}

#[tokio::test]
async fn written_and_read_back() {
    let s = server(|_| {});
    let v2_type = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    for (name, content_type, body) in [
        ("w1", "application/x-protobuf", write_v1(&one("w1", START_MS))),
        ("w2", v2_type, write_v2(&one("w2", START_MS))),
    ] {
        let headers = [("content-type", content_type), ("content-encoding", "snappy")];
        let (parts, body) = send(&s.router, request("POST", "/api/v1/write", &headers, snappy(&body))).await;
        assert_eq!((parts.status.as_u16(), body.len()), (204, 0));
        let written = parts.headers.get("x-prometheus-remote-write-samples-written");
        assert_eq!(written.map(|v| v.to_str().unwrap()), (name == "w2").then_some("1"));
        let want = format!(r#"{{"status":"success","data":[{{"__name__":"{name}","a":"b"}}]}}"#);
        assert_eq!(get(&s.router, &format!("/api/v1/series?match[]={name}")).await.1, want);
    }
    let old = snappy(&write_v1(&one("w1", START_MS - 1000)));
    let (parts, body) = send(&s.router, request("POST", "/api/v1/write", &[], old)).await;
    assert_eq!((parts.status.as_u16(), body.as_slice()), (400, &b"out of order sample\n"[..]));
}

#[tokio::test]
async fn refused() {
    let s = server(|o| o.enable_remote_write_receiver = false);
    let (parts, body) = send(&s.router, request("POST", "/api/v1/write", &[], Vec::new())).await;
    assert_eq!(parts.status.as_u16(), 404);
    assert_eq!(body, b"remote write receiver needs to be enabled with --web.enable-remote-write-receiver\n");
    let s = server(|_| {});
    let too_long = vec![0; (32 << 20) + 1];
    let (parts, _) = send(&s.router, request("POST", "/api/v1/write", &[], too_long)).await;
    assert_eq!(parts.status.as_u16(), 413);
    let headers = [("content-encoding", "gzip")];
    let (parts, _) = send(&s.router, request("POST", "/api/v1/write", &headers, Vec::new())).await;
    assert_eq!(parts.status.as_u16(), 415);
}

/// A read request by hand: one query over all time for one name, and the forms of the answer taken.
fn read_request(name: &str, forms: &[u8]) -> Vec<u8> {
    let field = |number: u8, content: &[u8]| [&[number << 3 | 2, content.len() as u8][..], content].concat();
    let matcher = [field(2, b"__name__"), field(3, name.as_bytes())].concat();
    // End: 2^56 - 1 milliseconds.
    let end = [&[2 << 3][..], &[0xff; 7], &[0x7f]].concat();
    let query = [end, field(3, &matcher)].concat();
    snappy(&[field(1, &query), field(2, forms)].concat())
}

#[tokio::test]
async fn remote_read_gives_samples_with_external_labels() {
    let s = server(|_| {});
    let (parts, body) =
        send(&s.router, request("POST", "/api/v1/read", &[], read_request("odd_value", &[0]))).await;
    assert_eq!(parts.status.as_u16(), 200);
    assert_eq!(parts.headers["content-type"], "application/x-protobuf");
    assert_eq!(parts.headers["content-encoding"], "snappy");
    let plain = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
    let has = |text: &[u8]| plain.windows(text.len()).any(|w| w == text);
    assert!(has(b"odd_value") && has(b"cluster") && has(b"c1"));
    let none = send(&s.router, request("POST", "/api/v1/read", &[], read_request("nope", &[]))).await;
    assert_eq!(snap::raw::Decoder::new().decompress_vec(&none.1).unwrap(), [10, 0]);
    let unknown = send(&s.router, request("POST", "/api/v1/read", &[], read_request("nope", &[9]))).await;
    assert_eq!(unknown.0.status.as_u16(), 400);
    let limited = server(|o| o.read_samples_max = 1);
    let many = send(&limited.router, request("POST", "/api/v1/read", &[], read_request("up", &[0]))).await;
    assert_eq!((many.0.status.as_u16(), &many.1[..]), (400, &b"exceeded sample limit (1)\n"[..]));
}

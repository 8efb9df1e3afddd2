use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue};
use parking_lot::Mutex;

use super::*;
use crate::metrics::Registry;

fn render(format: &str, record: &Record<'_>) -> String {
    let mut out = Vec::new();
    Format::parse(format).unwrap().render(record, &mut out);
    String::from_utf8(out).unwrap()
}

fn at_zero<'a>() -> Record<'a> {
    Record::at(SystemTime::UNIX_EPOCH)
}

#[test]
fn writes_istios_default_line_for_http() {
    let mut request = HeaderMap::new();
    request.insert("user-agent", HeaderValue::from_static("curl/8"));
    request.insert("x-request-id", HeaderValue::from_static("b7c1"));
    let record = Record {
        duration: Some(Duration::from_millis(12)),
        protocol: Some("HTTP/1.1"),
        method: Some("GET"),
        path: Some("/reviews/0?x=1"),
        authority: Some("reviews:9080"),
        request_headers: Some(&request),
        response_code: 200,
        response_code_details: Some("via_upstream"),
        bytes_sent: 295,
        upstream_service_time: Some(Duration::from_micros(11_900)),
        upstream_host: Some("10.244.0.9:9080".parse().unwrap()),
        upstream_cluster: Some("outbound|9080||reviews.default.svc.cluster.local"),
        upstream_local_address: Some("10.244.0.7:41000".parse().unwrap()),
        downstream_local_address: Some("10.96.3.4:9080".parse().unwrap()),
        downstream_remote_address: Some("10.244.0.7:52000".parse().unwrap()),
        route_name: Some("default"),
        ..at_zero()
    };
    assert_eq!(
        render(ISTIO_DEFAULT, &record),
        "[1970-01-01T00:00:00.000Z] \"GET /reviews/0?x=1 HTTP/1.1\" 200 - via_upstream - \"-\" 0 295 12 11 \"-\" \
         \"curl/8\" \"b7c1\" \"reviews:9080\" \"10.244.0.9:9080\" outbound|9080||reviews.default.svc.cluster.local \
         10.244.0.7:41000 10.96.3.4:9080 10.244.0.7:52000 - default\n"
    );
}

#[test]
fn writes_dashes_for_what_a_tcp_connection_lacks() {
    let mut flags = ResponseFlags::from(ResponseFlag::UpstreamConnectionFailure);
    flags.insert(ResponseFlag::UpstreamRetryLimitExceeded);
    let record = Record {
        flags,
        duration: Some(Duration::ZERO),
        ..at_zero()
    };
    let line = render(ISTIO_DEFAULT, &record);
    assert!(
        line.starts_with("[1970-01-01T00:00:00.000Z] \"- - -\" 0 UF,URX - - \"-\" 0 0 0 - "),
        "{line}"
    );
}

#[test]
fn falls_back_truncates_and_keeps_percent_signs() {
    let mut request = HeaderMap::new();
    request.insert("a", HeaderValue::from_static("abcdef"));
    let record = Record {
        request_headers: Some(&request),
        path: Some("/p"),
        ..at_zero()
    };
    assert_eq!(
        render("%REQ(A):3% %REQ(B?A)% %REQ(B?:PATH)% 100%%", &record),
        "abc abcdef /p 100%"
    );
    assert_eq!(render("%START_TIME(%Y/%m/%d %s)%", &record), "1970/01/01 0");
}

#[test]
fn value_cannot_forge_a_line() {
    let record = Record {
        path: Some("/a\nb"),
        ..at_zero()
    };
    assert_eq!(render("%REQ(:PATH)%\n", &record), "/a?b\n");
}

#[test]
fn refuses_what_it_does_not_know_by_name() {
    for (format, part) in [
        ("%NO_SUCH%", "%NO_SUCH%"),
        ("%DYNAMIC_METADATA(a:b)%", "%DYNAMIC_METADATA(a:b)%"),
        ("%REQ(a b)%", "is no header name"),
        ("%REQ(A):x%", "must be a number"),
        ("%PROTOCOL(x)%", "takes no argument"),
        ("50%", "byte 2"),
    ] {
        let error = Format::parse(format).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn writes_json_with_numbers_and_nulls() {
    let format = Format::parse_json([
        ("code", "%RESPONSE_CODE%"),
        ("path", "%REQ(:PATH)%"),
        ("sni", "%REQUESTED_SERVER_NAME%"),
        ("flags", "%RESPONSE_FLAGS%"),
    ]);
    let mut out = Vec::new();
    let record = Record {
        response_code: 503,
        path: Some("/\"x\"\u{1}"),
        ..at_zero()
    };
    format.unwrap().render(&record, &mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "{\"code\":503,\"path\":\"/\\\"x\\\"\\u0001\",\"sni\":null,\"flags\":\"-\"}\n"
    );
}

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn writer_thread_writes_every_line_in_order() {
    let memory = Memory::default();
    let dropped = Registry::new().counter("dropped_total", "dropped", &[]);
    let sink = Sink::new(Box::new(memory.clone()), dropped.with(&[])).unwrap();
    let log = AccessLog::new(
        Arc::new(Format::parse("%RESPONSE_CODE%\n").unwrap()),
        sink.clone(),
    );
    for response_code in 0..500 {
        log.write(&Record {
            response_code,
            ..at_zero()
        });
    }
    assert!(sink.flush(Duration::from_secs(10)));
    let expected: String = (0..500).map(|code| format!("{code}\n")).collect();
    assert_eq!(
        String::from_utf8(memory.0.lock().clone()).unwrap(),
        expected
    );
    assert_eq!(dropped.value(&[]), Some(0));
}

struct Stuck(Arc<Mutex<()>>);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        drop(self.0.lock());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn counts_lines_that_find_no_room() {
    let gate = Arc::new(Mutex::new(()));
    let held = gate.lock();
    let dropped = Registry::new().counter("dropped_total", "dropped", &[]);
    let sink = Sink::new(Box::new(Stuck(Arc::clone(&gate))), dropped.with(&[])).unwrap();
    let line = vec![b'x'; 64 * 1024];
    for _ in 0..64 {
        sink.append(&line);
    }
    assert!(
        dropped.value(&[]).unwrap() >= 31,
        "4 MiB do not fit twice into 1 MiB"
    );
    drop(held);
    assert!(sink.flush(Duration::from_secs(10)));
}

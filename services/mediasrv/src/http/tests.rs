//! Images at servers that behave and that do not.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// A server of one image.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) asked: Arc<AtomicUsize>,
    pub(crate) is_silent: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How it answers a request for a path and a range: all of the answer.
type Answer = fn(&str, (usize, usize), &[u8]) -> Vec<u8>;

pub(crate) fn ranges(tag: &str, (first, last): (usize, usize), image: &[u8]) -> Vec<u8> {
    let last = last.min(image.len().saturating_sub(1));
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {first}-{last}/{}\r\nETag: {tag}\r\nContent-Length: {}\r\n\r\n",
        image.len(),
        last + 1 - first
    );
    [head.as_bytes(), &image[first..=last]].concat()
}

pub(crate) fn good(_: &str, range: (usize, usize), image: &[u8]) -> Vec<u8> {
    ranges("\"one\"", range, image)
}

async fn converse(
    mut stream: TcpStream,
    image: Arc<Vec<u8>>,
    asked: Arc<AtomicUsize>,
    is_silent: Arc<AtomicBool>,
    answer: Answer,
) {
    let mut input = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        while !input.windows(4).any(|end| end == b"\r\n\r\n") {
            match stream.read(&mut buffer).await {
                Ok(count) if count > 0 => input.extend_from_slice(&buffer[..count]),
                _ => return,
            }
        }
        let text = String::from_utf8(std::mem::take(&mut input)).unwrap();
        asked.fetch_add(1, Ordering::Relaxed);
        if is_silent.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        let range = text
            .lines()
            .find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
        let range = range.and_then(|range| {
            let (first, last) = range.split_once('-')?;
            Some((first.parse().ok()?, last.parse().ok()?))
        });
        if stream.write_all(&answer(&text, range.unwrap_or((0, 0)), &image)).await.is_err() {
            return;
        }
    }
}

pub(crate) async fn server(image: Vec<u8>, answer: Answer) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/x/image.iso", listener.local_addr().unwrap());
    let (asked, is_silent) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
    let (image, counted, silent) = (Arc::new(image), Arc::clone(&asked), Arc::clone(&is_silent));
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(converse(
                stream,
                Arc::clone(&image),
                Arc::clone(&counted),
                Arc::clone(&silent),
                answer,
            ));
        }
    });
    Server { url, asked, is_silent, task }
}

pub(crate) fn servers(allow_local: bool) -> Arc<Servers> {
    Arc::new(Servers { connector: Connector::new(allow_local, None, "mediasrv.ca_file"), allow_http: true })
}

pub(crate) fn at(url: &str) -> HttpImage {
    let wanted = Wanted {
        url: url.to_owned(),
        verify: true,
        username: "ann".to_owned(),
        password: "secret".to_owned(),
    };
    HttpImage::new(servers(true), wanted, None)
}

pub(crate) fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

#[tokio::test]
async fn an_image_is_found_and_read_by_ranges_over_connections_that_stay() {
    let image = content(300_000);
    let server = server(image.clone(), |text, range, image| {
        // So the name and password of the request are checked, too.
        assert!(text.to_lowercase().contains("authorization: basic yw5uonnly3jlda=="), "{text}");
        assert!(range == (0, 0) || text.to_lowercase().contains("if-range: \"one\""), "{text}");
        good(text, range, image)
    })
    .await;
    let remote = at(&server.url);
    assert_eq!(remote.open().await.unwrap().size, 300_000);
    for offset in [0, 65_536, 262_144] {
        let length = 65_536.min(300_000 - offset);
        let bytes = remote.fetch(offset as u64, u32::try_from(length).unwrap()).await.unwrap();
        assert_eq!(bytes, &image[offset..offset + length]);
    }
    assert_eq!(server.asked.load(Ordering::Relaxed), 4);
    assert!(!format!("{remote:?}").contains("secret"));
}

#[tokio::test]
async fn what_cannot_be_read_by_ranges_is_said_why() {
    let nothing = |text: &'static str| text;
    let cases: [(Answer, &str); 6] = [
        (|_, _, _| b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx".to_vec(), nothing("no ranges")),
        (|_, _, _| b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(), "(404)"),
        (|_, _, _| b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".to_vec(), "source_username"),
        (|_, _, _| b"HTTP/1.1 206 Partial Content\r\nContent-Length: 1\r\n\r\nx".to_vec(), "Content-Range"),
        (
            |_, _, _| b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n".to_vec(),
            "4 times",
        ),
        (|_, _, _| b"SSH-2.0-OpenSSH\r\n\r\n".to_vec(), "broke"),
    ];
    for (answer, wanted) in cases {
        let server = server(content(10), answer).await;
        let why = at(&server.url).open().await.unwrap_err();
        assert!(why.contains(wanted), "{why}");
    }
    let gone = server(content(10), good).await;
    let url = gone.url.clone();
    drop(gone);
    assert!(at(&url).open().await.is_err());
}

#[tokio::test]
async fn a_server_leads_on_but_not_with_the_password_and_not_to_the_controller_itself() {
    let image = content(5000);
    let other = server(image.clone(), |text, range, image| {
        assert!(!text.to_lowercase().contains("authorization"), "{text}");
        good(text, range, image)
    })
    .await;
    // Where to is in the first server's own image.
    let first = server(other.url.clone().into_bytes(), |_, _, to| {
        let to = String::from_utf8_lossy(to);
        format!("HTTP/1.1 307 Moved\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").into_bytes()
    })
    .await;
    let remote = at(&first.url);
    assert_eq!(remote.open().await.unwrap().size, 5000);
    assert_eq!(remote.fetch(4000, 1000).await.unwrap(), &image[4000..]);
    assert_eq!(first.asked.load(Ordering::Relaxed), 1, "it is not asked again");

    let strict = servers(false);
    assert!(strict.judge(&first.url).unwrap_err().contains("of the controller itself"));
    assert!(strict.judge("https://images.example/a.iso").is_ok());
    assert!(strict.judge("ftp://images.example/a.iso").is_err());
    let plain = Servers { connector: Connector::new(true, None, "x"), allow_http: false };
    assert!(plain.judge("http://images.example/a.iso").unwrap_err().contains("allow_http"));
    let from = Destination::parse("https://a.example/x").unwrap();
    assert_eq!(absolute(&from, "/y").unwrap(), "https://a.example/y");
    assert!(absolute(&from, "//b/y").is_err() && absolute(&from, "file:///etc/passwd").is_err());
}

#[tokio::test]
async fn another_version_is_not_taken_for_the_one_that_was_inserted() {
    let server = server(content(5000), |text, range, image| {
        // The tag changes once it was found.
        let tag = if range == (0, 0) { "\"one\"" } else { "\"two\"" };
        if text.to_lowercase().contains("if-range: \"one\"") {
            return b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother".to_vec();
        }
        ranges(tag, range, image)
    })
    .await;
    let remote = at(&server.url);
    remote.open().await.unwrap();
    let failure = remote.fetch(0, 1000).await.unwrap_err();
    assert!(failure.is_final && failure.why.contains("another version"), "{failure:?}");

    let known = |size, validator: Option<&str>| {
        let known = Opened { size, validator: validator.map(str::to_owned) };
        HttpImage::new(servers(true), remote.wanted.clone(), Some(known))
    };
    assert!(known(4000, None).open().await.unwrap_err().contains("not 4000 any more"));
    // As after a restart of the daemon.
    let why = known(5000, Some("\"zero\"")).open().await.unwrap_err();
    assert!(why.contains("another version"), "{why}");
    assert_eq!(known(5000, Some("\"one\"")).open().await.unwrap().validator.unwrap(), "\"one\"");
    assert!(known(5000, None).open().await.is_ok());
}

#[test]
fn a_range_and_what_tells_versions_are_read_or_nothing() {
    let headers = |pairs: &[(hyper::header::HeaderName, &'static str)]| {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), hyper::header::HeaderValue::from_static(value)))
            .collect()
    };
    let range = |text| content_range(&headers(&[(CONTENT_RANGE, text)]));
    assert_eq!(range("bytes 0-9/100"), Some((0, 9, 100)));
    for bad in
        ["bytes 0-9/*", "bytes */100", "0-9/100", "bytes -1-9/100", "bytes 0-9/99999999999999999999999"]
    {
        assert_eq!(range(bad), None, "{bad}");
    }
    assert_eq!(validator(&headers(&[(ETAG, "\"a\""), (LAST_MODIFIED, "x")])).unwrap(), "\"a\"");
    assert_eq!(validator(&headers(&[(ETAG, "W/\"a\""), (LAST_MODIFIED, "x")])).unwrap(), "x");
    assert_eq!(validator(&headers(&[(ETAG, "W/\"a\"")])), None);
    let long: &'static str = Box::leak(format!("\"{}\"", "a".repeat(VALIDATOR_MAX)).into_boxed_str());
    assert_eq!(validator(&headers(&[(ETAG, long), (LAST_MODIFIED, "x")])).unwrap(), "x");
}

//! Serves metrics over HTTP, one request per connection.

use crate::open_metrics;
use crate::output::Output;
use netmod_inet::InetEndpoint;
use smol::future::{self, poll_fn};
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::{Async, Timer};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::{Pin, pin};
use std::time::Duration;

/// Bytes of a request line and its headers.
const MAX_REQUEST: usize = 8 * 1024;

/// Further bytes that are read and discarded. Closing with unread data would reset the connection
/// and lose the response.
const MAX_DISCARDED: usize = 64 * 1024;

/// Time for a request and its response.
const DEADLINE: Duration = Duration::from_secs(5);

/// Concurrent connections. One more evicts the oldest, so that slow clients cannot block others.
/// Also bounds the memory of responses.
const MAX_CONNECTIONS: usize = 4;

/// Pause after a failed `accept`, which is usually due to a shortage of descriptors.
const ACCEPT_RETRY: Duration = Duration::from_secs(1);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// The listener of the metrics server.
pub(crate) struct Server {
    listener: Async<TcpListener>,
}

impl Server {
    pub(crate) fn bind(addr: SocketAddr) -> io::Result<Server> {
        Ok(Server { listener: Async::<TcpListener>::bind(addr)? })
    }

    pub(crate) fn addr(&self) -> io::Result<SocketAddr> {
        self.listener.get_ref().local_addr()
    }

    /// Serves requests while it is polled.
    pub(crate) async fn run(&self, endpoint: &InetEndpoint, output: &Output) {
        let mut connections: Vec<Pin<Box<dyn Future<Output = ()> + '_>>> = Vec::new();
        loop {
            let accepted = {
                let mut accepting = pin!(self.listener.accept());
                // Polls the open connections as well: they have no tasks of their own.
                poll_fn(|cx| {
                    connections.retain_mut(|connection| connection.as_mut().poll(cx).is_pending());
                    accepting.as_mut().poll(cx)
                })
                .await
            };
            let Ok((stream, _)) = accepted else {
                Timer::after(ACCEPT_RETRY).await;
                continue;
            };
            if connections.len() == MAX_CONNECTIONS {
                drop(connections.remove(0));
            }
            connections.push(Box::pin(async move {
                let timeout = async {
                    Timer::after(DEADLINE).await;
                    Ok(())
                };
                // An error affects this client only.
                let _ = future::or(serve(stream, endpoint, output), timeout).await;
            }));
        }
    }
}

async fn serve(
    mut stream: Async<TcpStream>,
    endpoint: &InetEndpoint,
    output: &Output,
) -> io::Result<()> {
    let request = read(&mut stream).await?;
    let response = respond(&request, endpoint, output);
    stream.write_all(response.as_bytes()).await?;
    stream.get_ref().shutdown(std::net::Shutdown::Write)?;
    // Closing a socket with unread input would discard the response.
    let (mut discarded, mut block) = (0, [0; 1024]);
    while discarded < MAX_DISCARDED {
        match stream.read(&mut block).await? {
            0 => break,
            len => discarded += len,
        }
    }
    Ok(())
}

/// Reads to the end of the headers, at most `MAX_REQUEST` bytes.
async fn read(stream: &mut Async<TcpStream>) -> io::Result<Vec<u8>> {
    let (mut request, mut block) = (Vec::new(), [0; 1024]);
    while request.len() < MAX_REQUEST && !is_complete(&request) {
        match stream.read(&mut block).await? {
            0 => break,
            len => request.extend_from_slice(&block[..len]),
        }
    }
    Ok(request)
}

fn is_complete(request: &[u8]) -> bool {
    request.windows(4).any(|end| end == b"\r\n\r\n")
}

fn respond(request: &[u8], endpoint: &InetEndpoint, output: &Output) -> String {
    let (status, kind, body) = match status(request) {
        Status::Good => {
            let mut text = String::new();
            open_metrics::write(&mut text, &endpoint.peers(), &output.counters);
            ("200 OK", OPEN_METRICS, text)
        }
        Status::Bad(status, text) => (status, PLAIN, text.to_owned()),
    };
    let allow = if status.starts_with("405") { "Allow: GET\r\n" } else { "" };
    let len = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len}\r\n{allow}Connection: \
         close\r\n\r\n{body}"
    )
}

#[derive(Debug, PartialEq)]
enum Status {
    Good,
    Bad(&'static str, &'static str),
}

/// The status of the response to a request.
fn status(request: &[u8]) -> Status {
    if !is_complete(request) {
        return match request.len() >= MAX_REQUEST {
            true => Status::Bad(
                "431 Request Header Fields Too Large",
                "The request header is too long.\n",
            ),
            false => Status::Bad("400 Bad Request", "This is not an HTTP request.\n"),
        };
    }
    let end = request.iter().position(|byte| *byte == b'\r').unwrap_or_default();
    let mut words = request[..end].split(|byte| *byte == b' ');
    let (method, path, version) = (words.next(), words.next(), words.next());
    let is_http = version.is_some_and(|version| version.starts_with(b"HTTP/1."));
    let path = path.and_then(|path| path.split(|byte| *byte == b'?').next());
    match (method, path) {
        _ if !is_http || words.next().is_some() => {
            Status::Bad("400 Bad Request", "This is not an HTTP request.\n")
        }
        (Some(b"GET"), Some(b"/metrics")) => Status::Good,
        (Some(b"GET"), _) => Status::Bad("404 Not Found", "Only /metrics is served.\n"),
        _ => Status::Bad("405 Method Not Allowed", "Only GET is supported.\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_has_its_status() {
        for (request, expected) in [
            ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "200"),
            ("GET /metrics?name=x HTTP/1.0\r\n\r\n", "200"),
            ("GET / HTTP/1.1\r\n\r\n", "404"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
            ("GET /metrics\r\n\r\n", "400"),
            ("GET /metrics HTTP/1.1 x\r\n\r\n", "400"),
            ("\r\n\r\n", "400"),
            ("", "400"),
            ("GET /metrics HTTP/1.1\r\n", "400"),
            (&"x".repeat(MAX_REQUEST), "431"),
        ] {
            let status = match status(request.as_bytes()) {
                Status::Good => "200",
                Status::Bad(status, _) => &status[..3],
            };
            assert_eq!(status, expected, "{request:?}");
        }
    }
}

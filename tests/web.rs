//! A little web server, for downloads: says what a test wants it to, and remembers what it was asked.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use test_support::fixture;

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// The first line, without the version: `GET /path`.
    pub(crate) line: String,
    /// By their names in small letters.
    pub(crate) headers: BTreeMap<String, String>,
    /// How many requests have come before it.
    pub(crate) before: usize,
}

/// What is answered: the bytes on the wire, and whether it then stays silent rather than closing.
pub(crate) struct Answer {
    bytes: Vec<u8>,
    /// The last bytes come after a while.
    lingers: bool,
    stalls: bool,
}

/// A server on the loopback of this machine, for as long as the tests run.
pub(crate) struct Web {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

type Handler = dyn Fn(&Asked) -> Answer + Send + Sync;

impl Web {
    /// Serves HTTP.
    pub(crate) fn new(handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        Self::serve(Arc::new(handler), None)
    }

    /// Serves HTTPS, with the certificate of the fixtures for `localhost` and `127.0.0.1`.
    pub(crate) fn secure(handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let certificate = CertificateDer::from_pem_file(fixture("tls/server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(fixture("tls/server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        Self::serve(Arc::new(handler), Some(Arc::new(config)))
    }

    fn serve(handler: Arc<Handler>, config: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, asked) = (listener.local_addr().unwrap().port(), Arc::default());
        let web = Self { port, asked: Arc::clone(&asked) };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (handler, asked, config) = (Arc::clone(&handler), Arc::clone(&asked), config.clone());
                thread::spawn(move || match config {
                    None => answer(stream, &*handler, &asked),
                    Some(config) => {
                        let connection = ServerConnection::new(config).unwrap();
                        answer(StreamOwned::new(connection, stream), &*handler, &asked);
                    }
                });
            }
        });
        web
    }

    /// Returns a URL of it.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Returns everything it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Returns the first lines of what it was asked.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }
}

/// Answers one request. A client that goes away is no matter.
fn answer(mut stream: impl Read + Write, handler: &Handler, all: &Mutex<Vec<Asked>>) {
    let Some(mut asked) = read(&mut stream) else { return };
    {
        let mut all = all.lock().unwrap();
        asked.before = all.len();
        all.push(asked.clone());
    }
    let Answer { bytes, lingers, stalls } = handler(&asked);
    let (start, end) = bytes.split_at(if lingers { bytes.len() - 1 } else { 0 });
    let _ = stream.write_all(start).and_then(|()| stream.flush());
    if lingers {
        thread::sleep(Duration::from_millis(1500));
    }
    let _ = stream.write_all(end).and_then(|()| stream.flush());
    if stalls {
        thread::sleep(Duration::from_secs(600));
    }
}

fn read(stream: &mut impl Read) -> Option<Asked> {
    let mut lines = BufReader::with_capacity(1, stream).lines().map_while(Result::ok);
    let first = lines.next()?;
    let line = first.rsplit_once(' ')?.0.to_owned();
    let headers = lines.take_while(|line| !line.is_empty()).filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    Some(Asked { line, headers: headers.collect(), before: 0 })
}

impl Answer {
    /// An answer with a status, headers, each a line, and a body.
    pub(crate) fn new(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        Self::promising(body.len(), status, headers, body)
    }

    /// An answer that promises more than it has.
    pub(crate) fn promising(length: usize, status: &str, headers: &str, body: impl AsRef<[u8]>) -> Self {
        let separator = if headers.is_empty() { "" } else { "\r\n" };
        let head = format!("HTTP/1.1 {status}\r\n{headers}{separator}Content-Length: {length}\r\n\r\n");
        Self { bytes: [head.as_bytes(), body.as_ref()].concat(), lingers: false, stalls: false }
    }

    /// An answer as it goes on the wire.
    pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), lingers: false, stalls: false }
    }

    /// A file.
    pub(crate) fn file(body: impl AsRef<[u8]>) -> Self {
        Self::new("200 OK", "", body)
    }

    pub(crate) fn redirect(to: &str) -> Self {
        Self::new("302 Found", &format!("Location: {to}"), "")
    }

    pub(crate) fn not_found() -> Self {
        Self::new("404 Not Found", "", "no such file")
    }

    /// The same, with a pause before its last byte.
    pub(crate) fn lingering(self) -> Self {
        Self { lingers: true, ..self }
    }

    /// The same, and then nothing more.
    pub(crate) fn stalling(self) -> Self {
        Self { stalls: true, ..self }
    }
}

/// Passes bytes on between a client that has asked for a tunnel and whom it wants to talk to; a proxy's work.
pub(crate) fn tunnel() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, asked) = (listener.local_addr().unwrap().port(), Arc::<Mutex<Vec<String>>>::default());
    let told = Arc::clone(&asked);
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let Some(request) = read(&mut client) else { continue };
            told.lock().unwrap().push(request.line.clone());
            let Some(to) = request.line.strip_prefix("CONNECT ") else { continue };
            let Ok(server) = TcpStream::connect(to) else { continue };
            let _ = client.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            pass(client.try_clone().unwrap(), server.try_clone().unwrap());
            pass(server, client);
        }
    });
    (port, asked)
}

/// The same by SOCKS 5, without a login; hears the host and port that are asked for.
pub(crate) fn socks() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, asked) = (listener.local_addr().unwrap().port(), Arc::<Mutex<Vec<String>>>::default());
    let told = Arc::clone(&asked);
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let methods = take(&mut client, 2).last().copied().unwrap_or_default();
            take(&mut client, methods.into());
            let _ = client.write_all(&[5, 0]);
            let host = match take(&mut client, 4).last() {
                Some(1) => take(&mut client, 4).iter().map(u8::to_string).collect::<Vec<_>>().join("."),
                _ => {
                    let length = take(&mut client, 1).last().copied().unwrap_or_default();
                    String::from_utf8(take(&mut client, length.into())).unwrap()
                }
            };
            let port = take(&mut client, 2).iter().fold(0, |port, byte| port << 8 | u16::from(*byte));
            told.lock().unwrap().push(format!("{host}:{port}"));
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
            let _ = client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
            pass(client.try_clone().unwrap(), server.try_clone().unwrap());
            pass(server, client);
        }
    });
    (port, asked)
}

/// As many bytes as that; none from who has gone.
fn take(client: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    client.read_exact(&mut bytes).map(|()| bytes).unwrap_or_default()
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    thread::spawn(move || std::io::copy(&mut from, &mut to));
}

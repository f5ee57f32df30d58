//! One URL into one file: tried again after a while, and from where it broke off if the server can do that.

#![expect(clippy::disallowed_methods, reason = "writes what comes, and waits before it tries again")]

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use ureq::http::HeaderMap;

use super::error::{FetchError, Problem};
use super::http::{self, Answer, From, failure, header};
use super::{agent, retry, url};
use crate::call::Download;
use crate::error::{FileError, chain, file};
use crate::log::Log;

/// Downloads `url` to `to`, as often as the settings want to try.
pub(crate) fn fetch(url: &str, to: &Path, download: &Download, log: &Log) -> Result<(), FetchError> {
    fetch_by(url, to, download, log, download.attempts)
}

/// Downloads `url` to `to`, or gives up at once.
pub(crate) fn fetch_once(url: &str, to: &Path, download: &Download, log: &Log) -> Result<(), FetchError> {
    fetch_by(url, to, download, log, 1)
}

fn fetch_by(url: &str, to: &Path, download: &Download, log: &Log, most: u32) -> Result<(), FetchError> {
    let failed = |source: FileError| failure(url, source.into(), download);
    log.line(format_args!("downloading `{}`", url::shown(url)));
    let mut partial = Partial::create(to).map_err(failed)?;
    if let Some(path) = url::file_path(url) {
        let path = path.map_err(|why| failure(url, Problem::Url { why }, download))?;
        return copy_file(&path, &mut partial, log).map_err(failed);
    }
    let mut tries = 1;
    loop {
        let error = match try_once(url, &mut partial, download, log) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if !error.source.is_transient() || error.is_hopeless || tries >= most {
            return Err(error);
        }
        let wait = retry::wait(tries, error.retry_after_secs);
        tries += 1;
        let millis = wait.as_millis();
        log.warning(format_args!("{}; trying again in {millis} ms ({tries} of {most})", chain(&error)));
        std::thread::sleep(wait);
    }
}

fn copy_file(from: &Path, partial: &mut Partial<'_>, log: &Log) -> Result<(), FileError> {
    let action = "open (a build sees its inputs, and what `build-chroot-dirs` shows it)";
    let mut source = File::open(from).map_err(file(action, from))?;
    let length = io::copy(&mut source, &mut partial.file).map_err(file("copy", from))?;
    log.line(format_args!("copied {length} bytes"));
    Ok(())
}

fn try_once(url: &str, partial: &mut Partial<'_>, download: &Download, log: &Log) -> Result<(), FetchError> {
    let from = partial.from();
    let answer = http::get(url, from.as_ref(), download, log);
    if let Err(FetchError { source: Problem::Range, .. }) = &answer {
        partial.validator = None;
    }
    let Answer { url, start, response } = answer?;
    let failed = |source| failure(&url, source, download);
    match start {
        0 => partial.begin(response.headers()).map_err(|error| failed(error.into()))?,
        start => log.line(format_args!("going on after {start} bytes")),
    }
    if let Some(coding) =
        header(response.headers(), "content-encoding").filter(|coding| *coding != "identity")
    {
        log.line(format_args!("the server calls it encoded ({coding}); it is kept as it came"));
    }
    let mut body = response.into_body();
    let expected = body.content_length().map_or(0, |rest| start + rest);
    let mut progress = Progress::new(&url, expected, log);
    let received = receive(&mut body.as_reader(), partial, &mut progress);
    progress.end();
    received.map_err(failed)?;
    log.line(format_args!("downloaded {} bytes from `{}`", partial.length, url::shown(&url)));
    Ok(())
}

fn receive(
    body: &mut impl Read,
    partial: &mut Partial<'_>,
    progress: &mut Progress<'_>,
) -> Result<(), Problem> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = match body.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(agent::problem(error.into())),
        };
        partial.write(&buffer[..length])?;
        progress.at(partial.length);
    }
}

/// A file that is not whole yet.
struct Partial<'a> {
    path: &'a Path,
    file: File,
    length: u64,
    /// Tells this version of the file from later ones, on a server that can go on in the middle.
    validator: Option<String>,
}

impl<'a> Partial<'a> {
    fn create(path: &'a Path) -> Result<Self, FileError> {
        let opened = File::options().write(true).create(true).truncate(true).open(path);
        Ok(Self { path, file: opened.map_err(file("make", path))?, length: 0, validator: None })
    }

    /// Where a transfer may go on.
    fn from(&self) -> Option<From> {
        let validator = self.validator.clone().filter(|_| self.length > 0)?;
        Some(From { length: self.length, validator })
    }

    /// Throws away what is there, as the file comes from its start.
    fn begin(&mut self, headers: &HeaderMap) -> Result<(), FileError> {
        let begun = self.file.set_len(0).and_then(|()| self.file.rewind());
        begun.map_err(file("empty", self.path))?;
        self.length = 0;
        let can_go_on =
            header(headers, "accept-ranges").is_some_and(|unit| unit.eq_ignore_ascii_case("bytes"));
        // Of a weak one, the bytes may differ.
        let tag = header(headers, "etag").filter(|tag| !tag.starts_with("W/"));
        let validator = tag.or_else(|| header(headers, "last-modified"));
        self.validator = validator.filter(|_| can_go_on).map(str::to_owned);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.file.write_all(bytes).map_err(file("write", self.path))?;
        self.length += bytes.len() as u64;
        Ok(())
    }
}

/// Tells how far a transfer is, if it takes long enough for somebody to ask.
struct Progress<'a> {
    url: &'a str,
    expected: u64,
    log: &'a Log,
    told: Instant,
    has_begun: bool,
}

/// Between two events.
const INTERVAL: Duration = Duration::from_secs(1);

impl<'a> Progress<'a> {
    fn new(url: &'a str, expected: u64, log: &'a Log) -> Self {
        Self { url, expected, log, told: Instant::now(), has_begun: false }
    }

    fn at(&mut self, done: u64) {
        if self.told.elapsed() < INTERVAL {
            return;
        }
        if !std::mem::replace(&mut self.has_begun, true) {
            self.log.begin(&url::shown(self.url));
        }
        self.log.progress(done, self.expected);
        self.told = Instant::now();
    }

    fn end(self) {
        if self.has_begun {
            self.log.end();
        }
    }
}

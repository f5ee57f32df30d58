//! Files that may be compressed, told by how they begin.

use std::io::{self, BufRead, BufReader, Read};

use bzip2::read::MultiBzDecoder;
use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// How much memory an archive may ask for: more than the usual programs use at their highest levels.
const MOST_MEMORY_KIB: u32 = 256 * 1024;

/// Returns what is in a stream that is compressed by gzip, bzip2, xz or zstd, or not at all.
pub(crate) fn plain<'a>(source: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut source = BufReader::new(source);
    // The first read of a file gives more than the few bytes that this takes.
    let start = source.fill_buf()?;
    Ok(if start.starts_with(b"\x1f\x8b") {
        Box::new(MultiGzDecoder::new(source))
    } else if start.starts_with(b"BZh") {
        Box::new(MultiBzDecoder::new(source))
    } else if start.starts_with(b"\xfd7zXZ\0") {
        xz(source)
    } else if start.starts_with(b"\x28\xb5\x2f\xfd") {
        Box::new(Zstd::new(source))
    } else {
        Box::new(source)
    })
}

/// Returns what is in a stream that is compressed by xz.
pub(crate) fn xz<'a>(source: impl Read + 'a) -> Box<dyn Read + 'a> {
    Box::new(XzReader::new_mem_limit(source, true, MOST_MEMORY_KIB))
}

/// A stream of several frames, of which the decoder knows one.
struct Zstd<R> {
    source: R,
    decoder: FrameDecoder,
    /// Whether the decoder is in a frame.
    is_open: bool,
}

impl<R: BufRead> Zstd<R> {
    fn new(source: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(u64::from(MOST_MEMORY_KIB) * 1024);
        Self { source, decoder, is_open: false }
    }

    /// Begins the next frame, or passes over one that has no contents.
    fn open(&mut self) -> io::Result<()> {
        match self.decoder.reset(&mut self.source) {
            Ok(()) => self.is_open = true,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length, ..
            })) => {
                io::copy(&mut self.source.by_ref().take(u64::from(length)), &mut io::sink())?;
            }
            Err(error) => return Err(invalid(error)),
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.is_open {
                if self.source.fill_buf()?.is_empty() {
                    return Ok(0);
                }
                self.open()?;
                continue;
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.source, one).map_err(invalid)?;
            }
            match self.decoder.read(buffer)? {
                0 if !buffer.is_empty() => self.is_open = false,
                length => return Ok(length),
            }
        }
    }
}

fn invalid(error: FrameDecoderError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `hello\n`, as each program wrote it.
    const GZIP: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\x02\x03\xcbH\xcd\xc9\xc9\xe7\x02\0 0:6\x06\0\0\0";
    const ZSTD: &[u8] = b"(\xb5/\xfd\x04X1\0\0hello\nS\x88\xbd\x91";
    const XZ: &[u8] = b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4F\x02\0!\x01\x16\0\0\0t/\xe5\xa3\x01\0\x05hello\n\0\0\0\xa5`\x97\xf1\x94\xf6\xfd\xe0\0\x01\x1e\x06\xc1/\xa4\x1d\x1f\xb6\xf3}\x01\0\0\0\0\x04YZ";

    fn read(bytes: &[u8]) -> io::Result<String> {
        io::read_to_string(plain(bytes)?)
    }

    #[test]
    fn what_it_is_compressed_by_shows() {
        assert_eq!(read(b"plain").unwrap(), "plain");
        assert_eq!(read(b"").unwrap(), "");
        assert_eq!(read(GZIP).unwrap(), "hello\n");
        assert_eq!(read(ZSTD).unwrap(), "hello\n");
        assert_eq!(read(XZ).unwrap(), "hello\n");
    }

    #[test]
    fn several_streams_are_one() {
        let skipped = b"\x50\x2a\x4d\x18\x03\0\0\0xyz";
        assert_eq!(read(&[ZSTD, skipped, ZSTD].concat()).unwrap(), "hello\nhello\n");
        assert_eq!(read(&[GZIP, GZIP].concat()).unwrap(), "hello\nhello\n");
        assert_eq!(read(&[XZ, XZ].concat()).unwrap(), "hello\nhello\n");
    }

    #[test]
    fn what_is_cut_off_is_an_error() {
        for whole in [GZIP, ZSTD, XZ] {
            read(&whole[..whole.len() - 6]).unwrap_err();
        }
    }

    #[test]
    fn a_stream_may_not_ask_for_all_the_memory() {
        // A frame whose window is 2 GiB.
        read(b"\x28\xb5\x2f\xfd\0\xa8\x01\0\0").unwrap_err();
    }
}

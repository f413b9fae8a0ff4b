//! The compressed protocol, with a client that asked for it: from the end of the login on, and inside TLS where there is any, the
//! stream of packets goes in frames of `length of what follows (3 bytes) | number (1) | length before compression (3)`. A frame with
//! 0 for the length before compression is carried as it is. Frames and packets begin and end where they like.
//!
//! Numbers go on from the last frame in either direction, and a client begins a command with 0 (`net_clear` of the servers). Nobody
//! looks at the numbers of the packets inside. Semi-synchronous replication is not offered over it.

use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Two lengths and a number.
const HEADER_LENGTH: usize = 7;

/// At most this much goes into one frame (bytes before compression); it is what a dump gathers for a write.
const LARGEST_SENT: usize = 256 << 10;

/// What a client's frame may have, before and after compression (bytes): twice the longest command.
const LARGEST_TAKEN: usize = 2 << 20;

/// Less than this is carried as it is (bytes), as servers do (`MIN_COMPRESS_LENGTH`).
const WORTH_COMPRESSING: usize = 50;

/// How a connection is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    /// `CLIENT_COMPRESS`, which all clients know.
    Zlib,
    /// `CLIENT_ZSTD_COMPRESSION_ALGORITHM`: MySQL 8.0.18 and later.
    Zstd {
        /// As the client asked, 1 to 22.
        level: i32,
    },
}

impl Compression {
    /// zstd at the level that a client asks for; without one (0) or with one that there is not, at the library's own.
    pub(crate) fn zstd(level: i32) -> Self {
        let there_is = (1..=22).contains(&level);
        Self::Zstd { level: if there_is { level } else { zstd::DEFAULT_COMPRESSION_LEVEL } }
    }

    /// Appends the compressed bytes.
    fn compress(self, plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Zlib => {
                let mut encoder = flate2::write::ZlibEncoder::new(out, flate2::Compression::default());
                encoder.write_all(plain)?;
                encoder.finish().map(drop)
            }
            Self::Zstd { level } => {
                out.extend_from_slice(&zstd::bulk::compress(plain, level)?);
                Ok(())
            }
        }
    }

    /// What was compressed, which has to have this length.
    fn expand(self, compressed: &[u8], length: usize) -> io::Result<Vec<u8>> {
        let plain = match self {
            Self::Zlib => {
                let mut plain = Vec::with_capacity(length);
                // One byte more than there should be shows that there is more.
                flate2::read::ZlibDecoder::new(compressed).take(length as u64 + 1).read_to_end(&mut plain)?;
                plain
            }
            Self::Zstd { .. } => zstd::bulk::decompress(compressed, length)?,
        };
        if plain.len() == length {
            Ok(plain)
        } else {
            Err(broken("a compressed packet has another length than it states"))
        }
    }
}

fn broken(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// A stream in frames over another one. What was written goes out with the flush at the latest.
#[derive(Debug)]
pub(crate) struct Compressed<S> {
    inner: S,
    compression: Compression,
    /// Of the next frame in either direction.
    number: u8,
    /// The header of the frame that comes, and how much of it is there.
    header: [u8; HEADER_LENGTH],
    header_got: usize,
    /// Its body, and how much of it is there.
    body: Vec<u8>,
    body_got: usize,
    /// What the last frame held, and how much of it was read.
    plain: Vec<u8>,
    plain_read: usize,
    /// Frames that go out, and how much of them has gone.
    out: Vec<u8>,
    out_gone: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Compressed<S> {
    /// Goes on over this stream.
    pub(crate) fn new(inner: S, compression: Compression) -> Self {
        Self {
            inner,
            compression,
            number: 0,
            header: [0; HEADER_LENGTH],
            header_got: 0,
            body: Vec::new(),
            body_got: 0,
            plain: Vec::new(),
            plain_read: 0,
            out: Vec::new(),
            out_gone: 0,
        }
    }

    /// The lengths in the header that has come: of the body, and before compression.
    fn lengths(&self) -> io::Result<(usize, usize)> {
        let [a, b, c, _, d, e, f] = self.header;
        let length = |a, b, c| u32::from_le_bytes([a, b, c, 0]) as usize;
        let (body, plain) = (length(a, b, c), length(d, e, f));
        if body.max(plain) > LARGEST_TAKEN {
            return Err(broken("a compressed packet is longer than any command may be"));
        }
        Ok((body, plain))
    }

    /// Reads the frame that comes to its end. `false`: the client has closed the connection between two frames.
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.header_got < HEADER_LENGTH {
            match ready!(poll_some(&mut self.inner, context, &mut self.header[self.header_got..]))? {
                0 if self.header_got == 0 => return Poll::Ready(Ok(false)),
                0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                got => self.header_got += got,
            }
            if self.header_got == HEADER_LENGTH {
                (self.body_got, self.body) = (0, vec![0; self.lengths()?.0]);
            }
        }
        while self.body_got < self.body.len() {
            match ready!(poll_some(&mut self.inner, context, &mut self.body[self.body_got..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                got => self.body_got += got,
            }
        }
        let body = std::mem::take(&mut self.body);
        self.plain = match self.lengths()?.1 {
            0 => body,
            length => self.compression.expand(&body, length)?,
        };
        self.plain_read = 0;
        self.number = self.header[3].wrapping_add(1);
        self.header_got = 0;
        Poll::Ready(Ok(true))
    }

    /// Makes a frame of the beginnings of these parts; returns how much of them is in it.
    fn put(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut joined = Vec::new();
        let plain = match parts {
            [one] => &one[..one.len().min(LARGEST_SENT)],
            parts => {
                for part in parts {
                    joined.extend_from_slice(&part[..part.len().min(LARGEST_SENT - joined.len())]);
                }
                &joined
            }
        };
        if plain.is_empty() {
            return Ok(0);
        }
        let start = self.out.len();
        self.out.extend_from_slice(&[0; HEADER_LENGTH]);
        let mut stated = plain.len();
        if plain.len() >= WORTH_COMPRESSING {
            self.compression.compress(plain, &mut self.out)?;
        }
        let body = self.out.len() - start - HEADER_LENGTH;
        if body == 0 || body >= plain.len() {
            self.out.truncate(start + HEADER_LENGTH);
            self.out.extend_from_slice(plain);
            stated = 0;
        }
        let [a, b, c, ..] = (self.out.len() - start - HEADER_LENGTH).to_le_bytes();
        let [d, e, f, ..] = stated.to_le_bytes();
        self.out[start..start + HEADER_LENGTH].copy_from_slice(&[a, b, c, self.number, d, e, f]);
        self.number = self.number.wrapping_add(1);
        Ok(plain.len())
    }

    /// Hands all frames over to the stream below.
    fn poll_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.out_gone < self.out.len() {
            match ready!(Pin::new(&mut self.inner).poll_write(context, &self.out[self.out_gone..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                gone => self.out_gone += gone,
            }
        }
        self.out.clear();
        self.out_gone = 0;
        Poll::Ready(Ok(()))
    }
}

fn poll_some<S: AsyncRead + Unpin>(
    stream: &mut S,
    context: &mut Context<'_>,
    into: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(into);
    ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
    Poll::Ready(Ok(buffer.filled().len()))
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Compressed<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.plain_read == this.plain.len() && buffer.remaining() > 0 {
            if !ready!(this.poll_frame(context))? {
                return Poll::Ready(Ok(()));
            }
        }
        let left = &this.plain[this.plain_read..];
        let length = left.len().min(buffer.remaining());
        buffer.put_slice(&left[..length]);
        this.plain_read += length;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Compressed<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // One frame at a time waits here, so that a client that does not read is felt.
        ready!(this.poll_out(context))?;
        let taken = this.put(parts)?;
        match this.poll_out(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(taken)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_out(context))?;
        Pin::new(&mut this.inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_out(context))?;
        Pin::new(&mut this.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const ALL: [Compression; 2] = [Compression::Zlib, Compression::Zstd { level: 3 }];

    #[tokio::test]
    async fn what_goes_in_comes_out_whatever_its_length_and_however_it_is_cut() {
        for compression in ALL {
            // A pipe that is shorter than most frames: both sides wait in the middle of them.
            let (near, far) = tokio::io::duplex(1000);
            let (mut near, mut far) = (Compressed::new(near, compression), Compressed::new(far, compression));
            let text: Vec<u8> = (0..600_000_u32).flat_map(|number| (number / 7).to_le_bytes()).collect();
            let lengths = [0, 1, 49, 50, 51, 4096, LARGEST_SENT, LARGEST_SENT + 1, text.len()];
            let total: usize = lengths.iter().sum();
            let sent = text.clone();
            let sending = tokio::spawn(async move {
                for length in lengths {
                    let (head, tail) = sent[..length].split_at(length / 3);
                    let (mut left, mut parts) = (length, [IoSlice::new(head), IoSlice::new(tail)]);
                    let mut parts = &mut parts[..];
                    while left > 0 {
                        let gone = near.write_vectored(parts).await.expect("written");
                        IoSlice::advance_slices(&mut parts, gone);
                        left -= gone;
                    }
                    near.flush().await.expect("flushed");
                }
                near.shutdown().await.expect("closed");
            });
            let mut got = Vec::new();
            far.read_to_end(&mut got).await.expect("frames");
            sending.await.expect("no panic");
            assert_eq!(got.len(), total);
            let mut rest = &got[..];
            for length in lengths {
                let (this, after) = rest.split_at(length);
                assert!(this == &text[..length], "{compression:?}, {length} bytes");
                rest = after;
            }
        }
    }

    #[tokio::test]
    async fn frames_are_numbered_on_from_the_command_and_small_ones_are_carried_as_they_are() {
        let (near, mut far) = tokio::io::duplex(1 << 16);
        let mut near = Compressed::new(near, Compression::Zlib);
        // COM_PING in a frame as libmysqlclient writes it.
        far.write_all(&[5, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 14]).await.expect("room");
        let mut command = [0; 5];
        near.read_exact(&mut command).await.expect("a frame");
        assert_eq!(command, [1, 0, 0, 0, 14]);
        for (text, number) in [(&b"short"[..], 1), (&[b'x'; 5000], 2)] {
            near.write_all(text).await.expect("room");
            near.flush().await.expect("room");
            let mut header = [0; HEADER_LENGTH];
            far.read_exact(&mut header).await.expect("a header");
            let body = u16::from_le_bytes([header[0], header[1]]);
            let stated = usize::from(u16::from_le_bytes([header[4], header[5]]));
            assert_eq!((header[3], stated), (number, if text.len() < WORTH_COMPRESSING { 0 } else { text.len() }));
            assert!(usize::from(body) <= text.len() && (stated == 0 || body < 100), "{header:?}");
            far.read_exact(&mut vec![0; body.into()]).await.expect("its body");
        }
    }

    #[tokio::test]
    async fn frames_that_lie_or_are_cut_or_too_long_are_errors() {
        let mut honest = Vec::new();
        Compression::Zlib.compress(&[b'x'; 1000], &mut honest).expect("memory");
        let frame = |stated: u16| {
            let [length, _] = (honest.len() as u16).to_le_bytes();
            let [low, high] = stated.to_le_bytes();
            [&[length, 0, 0, 0, low, high, 0][..], &honest].concat()
        };
        for (bytes, kind) in [
            (frame(999), io::ErrorKind::InvalidData),
            (frame(1001), io::ErrorKind::InvalidData),
            (vec![0xff; HEADER_LENGTH], io::ErrorKind::InvalidData),
            (frame(1000)[..9].to_vec(), io::ErrorKind::UnexpectedEof),
            (vec![9, 0], io::ErrorKind::UnexpectedEof),
        ] {
            let (near, mut far) = tokio::io::duplex(1 << 16);
            far.write_all(&bytes).await.expect("room");
            drop(far);
            let mut got = Vec::new();
            let error = Compressed::new(near, Compression::Zlib).read_to_end(&mut got).await.expect_err("broken");
            assert_eq!((error.kind(), got.len()), (kind, 0), "{bytes:?}");
        }
    }
}

//! Messages out of a stream: as many bytes as each header's length field says (RFC 7011, Section
//! 10.4.3).
//!
//! Memory is taken as bytes come, not as a header announces them. A message that has begun must come
//! whole within a time, however slowly its bytes trickle in; between messages silence is no fault.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};
use weir_dataplane::wire::ipfix;

use super::counters::End;

/// Bytes asked for at a time.
const READ: usize = 32 << 10;

/// Bytes of a header that say how long its message is.
const PREFIX: usize = 4;

/// The first two bytes of a TLS handshake, as a version: record type 22, major version 3 (RFC 8446,
/// Section 5.1).
const TLS: u16 = 0x1603;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// A message, from its first byte to its last.
    pub(super) message: Duration,
    /// The time between two messages; `None` for ever.
    pub(super) idle: Option<Duration>,
}

/// Why there is no further message.
#[derive(Debug)]
pub(super) struct Ended {
    /// For which reason.
    pub(super) end: End,
    /// In words.
    pub(super) why: String,
}

fn ended(end: End, why: impl Into<String>) -> Ended {
    Ended { end, why: why.into() }
}

/// The messages of one connection.
#[derive(Debug)]
pub(super) struct Frames<R> {
    from: R,
    buffer: Vec<u8>,
    /// Where in the buffer the next message begins, and where what has come ends.
    begin: usize,
    end: usize,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    /// Over the beginning of a stream.
    pub(super) fn new(from: R) -> Self {
        Frames { from, buffer: Vec::new(), begin: 0, end: 0 }
    }

    /// What the messages come from.
    pub(super) fn get_mut(&mut self) -> &mut R {
        &mut self.from
    }

    /// Bytes of a message that has not come whole.
    pub(super) fn pending(&self) -> usize {
        self.end - self.begin
    }

    /// The next message, whole. A call that is given up loses nothing.
    ///
    /// # Errors
    /// Why there is none any more.
    pub(super) async fn next(&mut self, patience: Patience) -> Result<Vec<u8>, Ended> {
        let asked = Instant::now();
        let mut begun = None;
        loop {
            if let Some(message) = self.whole()? {
                return Ok(message);
            }
            let until = if self.pending() > 0 {
                Some(*begun.get_or_insert_with(Instant::now) + patience.message)
            } else {
                patience.idle.map(|idle| asked + idle)
            };
            self.read(until, patience).await?;
        }
    }

    /// The next message if it is all there.
    fn whole(&mut self) -> Result<Option<Vec<u8>>, Ended> {
        let rest = &self.buffer[self.begin..self.end];
        let Some((prefix, _)) = rest.split_first_chunk::<PREFIX>() else { return Ok(None) };
        let [version, length] =
            [[prefix[0], prefix[1]], [prefix[2], prefix[3]]].map(u16::from_be_bytes);
        if version != ipfix::VERSION || usize::from(length) < ipfix::HEADER_LENGTH {
            return Err(ended(End::NotIpfix, not_ipfix(version, length)));
        }
        let Some(message) = rest.get(..usize::from(length)).map(<[u8]>::to_vec) else {
            return Ok(None);
        };
        self.begin += message.len();
        Ok(Some(message))
    }

    async fn read(&mut self, until: Option<Instant>, patience: Patience) -> Result<(), Ended> {
        self.buffer.copy_within(self.begin..self.end, 0);
        let held = self.pending();
        (self.begin, self.end) = (0, held);
        self.buffer.resize(held + READ, 0);
        let read = self.from.read(&mut self.buffer[held..]);
        let came = match until {
            Some(until) => timeout_at(until, read).await,
            None => Ok(read.await),
        };
        match came {
            Ok(Ok(0)) => Err(closed(held)),
            Ok(Ok(bytes)) => {
                self.end += bytes;
                Ok(())
            }
            // TLS without its farewell: lengths show whether anything is missing.
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Err(closed(held)),
            Ok(Err(error)) => Err(ended(End::Broken, error.to_string())),
            Err(_) if held > 0 => {
                let after = patience.message.as_secs();
                let why = format!("{held} bytes of a message came, and no end within {after} s");
                Err(ended(End::Stalled, why))
            }
            Err(_) => Err(ended(End::Idle, "nothing came for long")),
        }
    }
}

fn closed(held: usize) -> Ended {
    if held == 0 {
        ended(End::Finished, "closed by the exporter")
    } else {
        ended(End::Cut, format!("closed after {held} bytes of a message"))
    }
}

fn not_ipfix(version: u16, length: u16) -> String {
    match version {
        ipfix::VERSION => format!("a message of {length} bytes is shorter than its header"),
        TLS..=0x1604 => {
            "this is TLS, and the port takes plain TCP; connect to the TLS port".to_owned()
        }
        9 => "NetFlow v9 does not say how long its packets are, so that it cannot come by TCP; \
              export IPFIX"
            .to_owned(),
        other => format!("version {other} is no IPFIX"),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    const PATIENCE: Patience =
        Patience { message: Duration::from_secs(60), idle: Some(Duration::from_secs(3_600)) };

    fn message(length: u16, fill: u8) -> Vec<u8> {
        let mut message = vec![fill; usize::from(length)];
        message[..2].copy_from_slice(&ipfix::VERSION.to_be_bytes());
        message[2..4].copy_from_slice(&length.to_be_bytes());
        message
    }

    /// Everything that comes of these bytes, in pieces of this size.
    async fn read(bytes: Vec<u8>, piece: usize) -> (Vec<Vec<u8>>, End, usize) {
        let (mut to, from) = tokio::io::duplex(1 << 10);
        let writing = tokio::spawn(async move {
            for piece in bytes.chunks(piece) {
                if to.write_all(piece).await.is_err() {
                    break;
                }
            }
        });
        let mut frames = Frames::new(from);
        let mut messages = Vec::new();
        let end = loop {
            match frames.next(PATIENCE).await {
                Ok(message) => messages.push(message),
                Err(ended) => break ended.end,
            }
        };
        let pending = frames.pending();
        drop(frames);
        writing.await.unwrap();
        (messages, end, pending)
    }

    #[tokio::test]
    async fn messages_are_parted_by_their_lengths_however_the_bytes_come() {
        let lengths = [16, 17, 1_400, 65_535, 16, 9_000];
        let messages: Vec<_> = lengths.iter().map(|&n| message(n, n as u8)).collect();
        for piece in [1, 3, 1_000, 100_000] {
            let (got, end, pending) = read(messages.concat(), piece).await;
            assert!(got == messages, "in pieces of {piece}");
            assert_eq!((end, pending), (End::Finished, 0));
        }
    }

    #[tokio::test]
    async fn what_ends_in_the_middle_is_cut() {
        let bytes = [message(100, 1), message(100, 2)].concat();
        for left in [101, 103, 104, 199] {
            let (got, end, pending) = read(bytes[..left].to_vec(), 50).await;
            assert_eq!((got.len(), end, pending), (1, End::Cut, left - 100));
        }
    }

    #[tokio::test]
    async fn what_is_no_ipfix_ends_it_and_what_was_before_is_whole() {
        for wrong in [[0, 9, 0, 1], [0x16, 3, 1, 2], [0, 10, 0, 15], [b'G', b'E', b'T', b' ']] {
            let (got, end, pending) = read([message(40, 1), wrong.to_vec()].concat(), 7).await;
            assert_eq!((got.len(), end, pending), (1, End::NotIpfix, 4));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_trickles_is_stalled_and_silence_between_messages_is_not() {
        let (mut to, from) = tokio::io::duplex(1 << 10);
        let writing = tokio::spawn(async move {
            to.write_all(&message(20, 1)).await.unwrap();
            tokio::time::sleep(Duration::from_secs(3_000)).await;
            for byte in message(1_000, 2) {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if to.write_all(&[byte]).await.is_err() {
                    return;
                }
            }
            panic!("somebody waited for a thousand seconds");
        });
        let mut frames = Frames::new(from);
        assert_eq!(frames.next(PATIENCE).await.unwrap().len(), 20);
        let ended = frames.next(PATIENCE).await.unwrap_err();
        assert_eq!(ended.end, End::Stalled);
        assert!((58..=61).contains(&frames.pending()), "{}", frames.pending());
        drop(frames);
        writing.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_connection_only_where_the_topology_says_so() {
        let (to, from) = tokio::io::duplex(64);
        let ended = Frames::new(from).next(PATIENCE).await.unwrap_err();
        assert_eq!(ended.end, End::Idle);
        drop(to);
    }

    #[tokio::test]
    async fn an_announced_length_takes_no_memory() {
        let (mut to, from) = tokio::io::duplex(64);
        to.write_all(&[0, 10, 255, 255]).await.unwrap();
        let mut frames = Frames::new(from);
        let short = Patience { message: Duration::from_millis(20), idle: None };
        assert_eq!(frames.next(short).await.unwrap_err().end, End::Stalled);
        assert!(frames.buffer.capacity() <= 2 * READ, "{}", frames.buffer.capacity());
    }
}

//! From the bytes of a link to its messages, without a buffer where none is needed.
//!
//! Bytes come in chunks as TLS delivers them. A frame that lies in one chunk is read where it lies; only one that goes
//! on in the next chunk is copied, into memory that grows as its bytes arrive, never by what its length promises.

use routing_core::message::Message;
use routing_core::wire::{FRAME_MAX, FRAME_OVERHEAD, WireError, decode, payload_len};

/// Memory that is kept for the next frame in parts; what is larger is given back.
const KEPT: usize = 1_024;

/// The frame of a link that has begun and not ended yet.
#[derive(Default, Debug)]
pub(crate) struct FrameReader {
    partial: Vec<u8>,
}

/// What is at the beginning of some bytes.
#[derive(Debug, PartialEq)]
pub(crate) enum Frame {
    /// A frame ends: its length, and what it is.
    Whole(usize, Result<Message, WireError>),
    /// More is needed.
    Partial,
}

impl FrameReader {
    /// Reads on at the beginning of `bytes`: says how many of them belong to the frame, and what that is. An error is a
    /// frame beyond the limit, after which there is nothing more to be read.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<(usize, Frame), WireError> {
        if self.partial.is_empty()
            && let Some((header, rest)) = bytes.split_first_chunk()
        {
            let length = payload_len(*header, FRAME_MAX)?;
            if let Some(payload) = rest.get(..length) {
                let total = FRAME_OVERHEAD + length;
                return Ok((total, Frame::Whole(total, decode(payload))));
            }
        }
        let used = self.stash(bytes, FRAME_OVERHEAD);
        let Some(header) = self.partial.first_chunk() else { return Ok((used, Frame::Partial)) };
        let total = FRAME_OVERHEAD + payload_len(*header, FRAME_MAX)?;
        let used = used + self.stash(&bytes[used..], total);
        if self.partial.len() < total {
            return Ok((used, Frame::Partial));
        }
        let message = decode(&self.partial[FRAME_OVERHEAD..]);
        self.partial.clear();
        if self.partial.capacity() > KEPT {
            self.partial = Vec::new();
        }
        Ok((used, Frame::Whole(total, message)))
    }

    /// How many bytes of a frame are here.
    pub(crate) fn held(&self) -> usize {
        self.partial.len()
    }

    /// How many bytes the frame that has begun has in all, as far as that is known yet.
    pub(crate) fn promised(&self) -> usize {
        let length = self.partial.first_chunk().and_then(|header| payload_len(*header, FRAME_MAX).ok());
        length.map_or(self.partial.len(), |length| FRAME_OVERHEAD + length)
    }

    /// Copies what is missing to `total` bytes, as far as it is there; says how much.
    fn stash(&mut self, bytes: &[u8], total: usize) -> usize {
        let missing = total.saturating_sub(self.partial.len()).min(bytes.len());
        self.partial.extend_from_slice(&bytes[..missing]);
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use allocation_counter::measure;
    use rand_core::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;
    use routing_core::holders::SetName;
    use routing_core::id::Id;
    use routing_core::message::{Fetch, Find, RequestId, Want};
    use routing_core::wire::write_frame;

    /// `FRAME_CASES` is how many cases are tried (100,000); a failure prints the seed that repeats it.
    fn each_case(test: impl Fn(&mut Xoshiro256PlusPlus)) {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let (first, cases) = match number("FRAME_SEED") {
            Some(seed) => (seed, 1),
            None => (0, number("FRAME_CASES").unwrap_or(100_000)),
        };
        for seed in first..first + cases {
            let run = std::panic::AssertUnwindSafe(|| test(&mut Xoshiro256PlusPlus::seed_from_u64(seed)));
            if let Err(panic) = std::panic::catch_unwind(run) {
                eprintln!("FRAME_SEED={seed} repeats this");
                std::panic::resume_unwind(panic);
            }
        }
    }

    fn message(dice: &mut Xoshiro256PlusPlus) -> Message {
        let id = RequestId(dice.next_u32());
        match dice.next_u32() % 4 {
            0 => Message::Unknown(id),
            1 => {
                let key = routing_core::id::Guid(Id([7; 32])).into();
                let count = dice.next_u32() % 40;
                Message::Fetch(Fetch { id, keys: (0..count).map(|_| key).collect() })
            }
            _ => {
                let target = Id(std::array::from_fn(|_| dice.next_u32() as u8));
                Message::Find(Find { id, target, want: Want::Record, groups: 16, set: SetName::NONE })
            }
        }
    }

    /// Feeds `bytes` in chunks of random lengths; what came out, in order.
    fn feed(bytes: &[u8], dice: &mut Xoshiro256PlusPlus) -> Result<Vec<Result<Message, WireError>>, WireError> {
        let (mut reader, mut frames, mut start) = (FrameReader::default(), Vec::new(), 0);
        while start < bytes.len() {
            let longest = if dice.next_u32().is_multiple_of(4) { 3 } else { 400 };
            let end = bytes.len().min(start + 1 + dice.next_u32() as usize % longest);
            let mut chunk = &bytes[start..end];
            while !chunk.is_empty() {
                let (used, frame) = reader.read(chunk)?;
                assert!(used > 0 && used <= chunk.len(), "a reader goes on");
                chunk = &chunk[used..];
                match frame {
                    Frame::Whole(_, result) => frames.push(result),
                    Frame::Partial => assert!(chunk.is_empty(), "a frame goes on in the next chunk only"),
                }
            }
            start = end;
        }
        Ok(frames)
    }

    #[test]
    fn messages_are_the_same_however_their_bytes_are_cut() {
        each_case(|dice| {
            let sent: Vec<Message> = (0..1 + dice.next_u32() % 6).map(|_| message(dice)).collect();
            let mut bytes = Vec::new();
            for message in &sent {
                write_frame(message, &mut bytes).unwrap();
            }
            let heard: Vec<Message> = feed(&bytes, dice).unwrap().into_iter().map(Result::unwrap).collect();
            assert_eq!(heard, sent);
        });
    }

    #[test]
    fn damage_and_noise_are_told_as_such_and_memory_follows_what_arrived() {
        each_case(|dice| {
            let mut bytes = Vec::new();
            if dice.next_u32().is_multiple_of(4) {
                bytes.extend((0..dice.next_u32() % 300).map(|_| dice.next_u32() as u8));
            } else {
                for _ in 0..1 + dice.next_u32() % 4 {
                    write_frame(&message(dice), &mut bytes).unwrap();
                }
                for _ in 0..1 + dice.next_u32() % 3 {
                    let index = dice.next_u32() as usize % bytes.len();
                    bytes[index] = dice.next_u32() as u8;
                }
            }
            let length = bytes.len();
            let memory = measure(|| drop(feed(&bytes, dice))).bytes_max as usize;
            assert!(memory < 4_096 + 64 * length, "{length} bytes took {memory}");
        });
    }

    #[test]
    fn a_frame_beyond_the_limit_ends_the_reading_and_the_longest_passes() {
        let mut reader = FrameReader::default();
        assert_eq!(reader.read(&[0, 0x10]), Ok((2, Frame::Partial)));
        assert_eq!(reader.read(&[0, 1, 9]), Err(WireError::TooLong { length: FRAME_MAX + 1 }));
        let mut reader = FrameReader::default();
        assert_eq!(reader.read(&[0, 0x10, 0, 1]), Err(WireError::TooLong { length: FRAME_MAX + 1 }));
        let mut reader = FrameReader::default();
        assert_eq!(reader.read(&[0, 0x10, 0, 0]), Ok((4, Frame::Partial)));
        assert_eq!(reader.read(&vec![0; FRAME_MAX - 1]), Ok((FRAME_MAX - 1, Frame::Partial)));
        assert_eq!((reader.held(), reader.promised()), (FRAME_MAX + 3, FRAME_MAX + 4));
        let whole = Frame::Whole(FRAME_MAX + 4, Err(WireError::NotCanonical));
        assert!(
            matches!(reader.read(&[0, 0]), Ok((1, Frame::Whole(length, Err(_)))) if whole != Frame::Partial && length == FRAME_MAX + 4)
        );
        assert_eq!(reader.held(), 0);
    }
}

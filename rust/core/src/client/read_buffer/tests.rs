use proptest::prelude::*;

use super::*;
use crate::wire::frame::PREFIX;

fn read(read_buffer: &mut ReadBuffer, data: &[u8]) {
    read_buffer.spare().unwrap()[..data.len()].copy_from_slice(data);
    read_buffer.advance(data.len());
}

#[test]
#[cfg_attr(miri, ignore = "a buffer of 256 KiB is filled there byte by byte, for minutes")]
fn unprocessed_bytes_stay_in_front_of_what_is_read_next() {
    let mut read_buffer = ReadBuffer::default();
    read(&mut read_buffer, b"abcdef");
    read_buffer.consume(4);
    read(&mut read_buffer, b"gh");
    assert_eq!(read_buffer.unprocessed(), b"efgh");
    read_buffer.append(b"ij").unwrap();
    assert_eq!(read_buffer.unprocessed(), b"efghij");
    read(&mut read_buffer, b"kl");
    read_buffer.consume(2);
    assert_eq!(read_buffer.unprocessed(), b"ghijkl");
    read_buffer.clear();
    assert_eq!(read_buffer.unprocessed(), b"");
}

#[test]
#[cfg_attr(miri, ignore = "a buffer of 256 KiB is filled there byte by byte, for minutes")]
fn a_large_frame_has_room_and_its_memory_goes_with_it() {
    let mut read_buffer = ReadBuffer::default();
    let part = [7; MAX_READ / 4];
    for parts in 1..=12 {
        read(&mut read_buffer, &part);
        assert_eq!(read_buffer.unprocessed().len(), parts * part.len());
    }
    read_buffer.consume(12 * part.len());
    assert!(read_buffer.buf.capacity() <= MAX_READ);
}

/// Whatever of `bytes` has room.
fn read_some(read_buffer: &mut ReadBuffer, bytes: &[u8]) -> usize {
    let room = read_buffer.spare().unwrap();
    let len = room.len().min(bytes.len());
    room[..len].copy_from_slice(&bytes[..len]);
    read_buffer.advance(len);
    len
}

/// A frame of `len` bytes that no other resembles.
fn frame_of(len: usize, seed: u64) -> Vec<u8> {
    let mut frame = vec![0; len];
    fastrand::Rng::with_seed(seed).fill(&mut frame);
    frame[..PREFIX].copy_from_slice(&u32::try_from(len - PREFIX).unwrap().to_le_bytes());
    frame
}

#[test]
#[cfg_attr(miri, ignore = "frames of a MiB are filled there byte by byte, for minutes")]
fn a_large_frame_takes_the_buffer_with_it_and_no_more_than_it_needs() {
    for len in [MAX_READ + 1, 300_000, 2 * MAX_READ, 1_000_000, (1 << 20) + PREFIX] {
        let sent = [frame_of(len, 1), frame_of(len, 2)].concat();
        let mut read_buffer = ReadBuffer::default();
        let (mut read, mut taken) = (0, Vec::new());
        while read < sent.len() {
            read += read_some(&mut read_buffer, &sent[read..sent.len().min(read + 100_000)]);
            if let Some(frame) = read_buffer.take_frame() {
                assert_eq!(read_buffer.buf.capacity(), 0);
                let frame = Vec::from(frame);
                assert_eq!(frame.capacity(), len);
                taken.extend(frame);
            }
        }
        assert!(taken == sent, "frames of {len} bytes");
    }
}

#[test]
#[cfg_attr(miri, ignore = "a buffer of 256 KiB is filled there byte by byte, for minutes")]
fn what_is_no_whole_frame_or_shares_the_buffer_is_not_taken() {
    let frame = frame_of(MAX_READ + 10, 1);
    let mut begun = ReadBuffer::from(frame[..MAX_READ + 9].to_vec());
    assert_eq!(begun.take_frame(), None);
    let mut behind_another = ReadBuffer::from([&[0], &frame[..]].concat());
    behind_another.consume(1);
    assert_eq!(behind_another.take_frame(), None);
    let mut before_another = ReadBuffer::from([&frame[..], &[0]].concat());
    assert_eq!(before_another.take_frame(), None);
    let mut roomy = frame.clone();
    roomy.reserve(1);
    assert_eq!(ReadBuffer::from(roomy).take_frame(), None);
    let small = frame_of(MAX_READ, 1);
    assert_eq!(ReadBuffer::from(small).take_frame(), None);
}

/// What is done after each read.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// All whole frames are processed.
    All,
    /// One is, if there is one.
    One,
    /// Nothing is: a queue is full.
    Nothing,
}

fn steps() -> impl Strategy<Value = Vec<(usize, bool, Step)>> {
    let step = prop_oneof![6 => Just(Step::All), 1 => Just(Step::One), 2 => Just(Step::Nothing)];
    let len = prop_oneof![2 => 1..300_usize, 1 => 1..70_000_usize, 3 => 1..600_000_usize];
    prop::collection::vec((len, prop::bool::weighted(0.1), step), 1..30)
}

fn frame_lens() -> impl Strategy<Value = Vec<usize>> {
    let len = prop_oneof![
        3 => PREFIX + 1..2_000,
        1 => 60_000..MAX_READ,
        2 => MAX_READ - 5..MAX_READ + 5,
        2 => MAX_READ..3 * MAX_READ,
        1 => 1_000_000..1_060_000_usize,
    ];
    prop::collection::vec(len, 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 0 } else { 100 }))]

    /// However it is cut, whoever has read it, and whenever it is processed.
    #[test]
    fn what_is_processed_is_what_came(lens in frame_lens(), steps in steps()) {
        let frames: Vec<_> = (0..).zip(&lens).map(|(seed, len)| frame_of(*len, seed)).collect();
        let sent = frames.concat();
        let mut read_buffer = ReadBuffer::default();
        let (mut read, mut processed) = (0, 0);
        let mut left = frames.iter();
        for (len, elsewhere, step) in steps.into_iter().chain(std::iter::repeat((200_000, false, Step::All))) {
            if read == sent.len() && processed == read {
                break;
            }
            let next = &sent[read..sent.len().min(read + len)];
            if elsewhere {
                read_buffer.append(next).unwrap();
                read += next.len();
            } else {
                let (come, before) = (read - processed, read_buffer.buf.len());
                read += read_some(&mut read_buffer, next);
                let grown = read_buffer.buf.len();
                prop_assert!(grown <= before.max(MAX_READ).max(3 * come), "{grown} for {come}");
            }
            if let Some(frame) = read_buffer.take_frame() {
                prop_assert!(frame == sent[processed..read]);
                if matches!(step, Step::Nothing) {
                    read_buffer.put_back(frame);
                } else {
                    processed = read;
                    prop_assert_eq!(left.next().map(Vec::len), Some(frame.len()));
                    continue;
                }
            }
            let unprocessed = read_buffer.unprocessed();
            prop_assert!(*unprocessed == sent[processed..read]);
            let most = match step {
                Step::All => usize::MAX,
                Step::One => 1,
                Step::Nothing => 0,
            };
            let whole = frame::split(unprocessed).take(most).map(|(frame, _)| frame.len());
            let mut used = 0;
            for len in whole {
                prop_assert_eq!(left.next().map(Vec::len), Some(len));
                used += len;
            }
            read_buffer.consume(used);
            processed += used;
        }
        prop_assert_eq!(left.len(), 0);
        prop_assert!(read_buffer.buf.len() <= MAX_READ);
    }
}

use loona_hpack::huffman::HuffmanDecoder;
use loona_hpack::{Decoder as OtherDecoder, Encoder};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::fuzzing::rewrite;
use super::hpack::Decoder;
use super::rewriter::PREFACE;
use super::*;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PING: u8 = 6;
const PUSH_PROMISE: u8 = 5;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Makes a HEADERS frame of a whole header block.
fn headers(block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, block)
}

/// Returns the rewriter's output for these frames, which it must understand.
fn understood(frames: &[u8]) -> Vec<u8> {
    let (output, malformed) = rewrite(&[PREFACE, frames].concat(), usize::MAX);
    assert_eq!(malformed, None);
    output[PREFACE.len()..].to_vec()
}

fn misunderstood(frames: &[u8]) -> &'static str {
    rewrite(&[PREFACE, frames].concat(), usize::MAX).1.expect("something malformed").0
}

/// A frame as h2 would see it.
#[derive(Debug, PartialEq)]
enum Seen {
    Headers(u32, u8, Fields),
    Other(u8, u8, u32, Vec<u8>),
}

/// Reads frames as somebody who keeps no table and knows of no padding.
fn seen(mut frames: &[u8]) -> Vec<Seen> {
    let mut all = Vec::new();
    let mut block: Option<(u32, u8, Vec<u8>)> = None;
    while let Some((header, rest)) = frames.split_at_checked(9) {
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        let (kind, flags) = (header[3], header[4]);
        let stream = u32::from_be_bytes(header[5..].try_into().unwrap());
        let (payload, rest) = rest.split_at(length);
        frames = rest;
        let (first, end_stream, mut fragments) = match (kind, block.take()) {
            (HEADERS, None) => (stream, flags & END_STREAM, Vec::new()),
            (CONTINUATION, Some(block)) => block,
            (_, None) => {
                all.push(Seen::Other(kind, flags, stream, payload.to_vec()));
                continue;
            }
            (_, Some(_)) => panic!("a frame in the middle of a block"),
        };
        assert!(first == stream && length <= 16_384 && flags & (PADDED | PRIORITY) == 0);
        fragments.extend(payload);
        if flags & END_HEADERS == 0 {
            block = Some((first, end_stream, fragments));
            continue;
        }
        let mut decoder = OtherDecoder::new();
        decoder.set_max_allowed_table_size(0);
        decoder.set_max_table_size(0);
        all.push(Seen::Headers(stream, end_stream, decoder.decode(&fragments).unwrap()));
    }
    assert!(frames.is_empty() && block.is_none());
    all
}

fn fields(pairs: &[(&str, &str)]) -> Fields {
    pairs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

#[test]
fn a_request_loses_its_authority_and_nothing_else() {
    // As gRPC's C core sends it: literals that the table keeps; and again, as references to them.
    let mut block = vec![0x83, 0x86];
    for (name, value) in [(":authority", "%2Frun%2Flb.sock"), (":path", "/a"), ("te", "trailers")] {
        block.extend([&[0x40, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat());
    }
    let again = [0x83, 0x86, 0xc0, 0xbf, 0xbe];
    let trailers = frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xbe]);
    let want = || fields(&[(":method", "POST"), (":scheme", "http"), (":path", "/a"), ("te", "trailers")]);
    assert_eq!(
        seen(&understood(&[headers(&block), headers(&again), trailers].concat())),
        [
            Seen::Headers(1, 0, want()),
            Seen::Headers(1, 0, want()),
            Seen::Headers(1, END_STREAM, fields(&[("te", "trailers")])),
        ]
    );
}

#[test]
fn an_authority_is_found_however_its_name_is_written() {
    let coded_name = [&[0x40, 0x88], &[184, 59, 83, 57, 236, 50, 125, 127][..], &[0]].concat();
    let spelled_out = [&[0x10, 10][..], b":authority", &[1, b'/']].concat();
    // The last one names it by the entry that the one before has made.
    for block in [&[0x81][..], &[0x01, 1, b'/'], &[0x41, 1, b'/'], &spelled_out, &coded_name] {
        let then = [block, &[0x41, 1, b'a', 0xbe, 0x0f, 0x2f, 1, b'b']].concat();
        assert_eq!(seen(&understood(&headers(&then))), [Seen::Headers(1, 0, vec![])], "{block:?}");
    }
}

#[test]
fn a_block_is_the_same_wherever_it_is_cut() {
    let block = [&[0x83, 0x86, 0x41, 1, b'/', 0x04, 2][..], b"/a", &[0x40, 2], b"te", &[8], b"trailers"].concat();
    let whole = understood(&headers(&block));
    for cut in 0..=block.len() {
        let (first, second) = block.split_at(cut);
        let frames = [frame(HEADERS, 0, 1, first), frame(CONTINUATION, END_HEADERS, 1, second)].concat();
        assert_eq!(understood(&frames), whole, "cut at {cut}");
    }
    let mut frames = frame(HEADERS, 0, 1, &[]);
    for octet in &block {
        frames.extend(frame(CONTINUATION, 0, 1, &[*octet]));
    }
    frames.extend(frame(CONTINUATION, END_HEADERS, 1, &[]));
    assert_eq!(understood(&frames), whole, "an octet each");
}

#[test]
fn padding_and_priority_are_taken_off() {
    let block = [0x83, 0x86, 0x84];
    let whole = understood(&headers(&block));
    let padded = [&[3][..], &block, &[0; 3]].concat();
    let weighted = [&[0x80, 0, 0, 0, 7][..], &block].concat();
    let both = [&[2, 0, 0, 0, 0, 7][..], &block, &[0x3f; 2]].concat();
    for (flags, payload) in [(PADDED, padded), (PRIORITY, weighted), (PADDED | PRIORITY, both)] {
        assert_eq!(understood(&frame(HEADERS, END_HEADERS | flags, 1, &payload)), whole);
    }
}

#[test]
fn a_long_list_goes_on_in_frames_of_the_longest_kind() {
    let value = "x".repeat(4_000);
    // 9 times 4,000 and some: two of h2's longest frames are full.
    let block = [&[0x40, 1, b'n', 0x7f, 0xa1, 0x1e][..], value.as_bytes(), &[0xbe; 8]].concat();
    let output = understood(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block));
    let want = fields(&[("n", &*value); 9]);
    assert_eq!(seen(&output), [Seen::Headers(1, END_STREAM, want)]);
    assert_eq!(output[..3], [0, 0x40, 0]);
}

#[test]
fn what_is_malformed_is_told() {
    let begun = frame(HEADERS, 0, 1, &[0x82]);
    let after = |next: &[u8]| [&begun, next].concat();
    let update = |size: &[u8]| headers(&[size, &[0x82]].concat());
    for (frames, says) in [
        (headers(&[0x3f]), "stops in the middle"),
        (headers(&[0x7f]), "stops in the middle"),
        (headers(&[0xff]), "stops in the middle"),
        (headers(&[0x40]), "stops in the middle"),
        (headers(&[0x40, 3, b'a']), "stops in the middle"),
        (headers(&[0x41, 0x7f]), "stops in the middle"),
        (headers(&[0xff, 0xff, 0xff, 0xff, 0xff, 0]), "too long"),
        (headers(&[0x80]), "index"),
        (headers(&[0xbe]), "index"),
        (headers(&[0x7e, 0]), "index"),
        (update(&[0x3f, 0xe2, 0x1f]), "above 4,096"),
        (headers(&[0x82, 0x20, 0x82]), "behind"),
        (headers(&[0x41, 0x81, 0x00]), "padding"),
        (headers(&[0x41, 0x82, 0xff, 0xff]), "padding"),
        (headers(&[0x41, 0x84, 0xff, 0xff, 0xff, 0xff]), "end"),
        (frame(HEADERS, END_HEADERS | PADDED, 1, &[]), "padding"),
        (frame(HEADERS, END_HEADERS | PADDED, 1, &[2, 0x82]), "padding"),
        (frame(HEADERS, END_HEADERS | PRIORITY, 1, &[0; 4]), "padding"),
        (frame(CONTINUATION, END_HEADERS, 1, &[0x82]), "beginning"),
        (frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82]), "beginning"),
        (after(&frame(CONTINUATION, END_HEADERS, 3, &[0x84])), "in the middle"),
        (after(&frame(DATA, 0, 1, &[])), "in the middle"),
        (after(&headers(&[0x84])), "in the middle"),
        (frame(HEADERS, END_HEADERS, 1, &[0x82; 16_385]), "too long"),
    ] {
        let said = misunderstood(&frames);
        assert!(said.contains(says), "{:x?}: {said}", &frames[..frames.len().min(20)]);
    }
    // The largest table and the largest frame there may be.
    understood(&update(&[0x3f, 0xe1, 0x1f]));
    understood(&frame(HEADERS, END_HEADERS, 1, &[0x82; 1_000]));
}

#[test]
fn no_client_makes_us_hold_more_than_its_limits() {
    let flood = |frame: Vec<u8>| [self::frame(HEADERS, 0, 1, &[]), frame.repeat(80_000 / frame.len())].concat();
    assert!(misunderstood(&flood(frame(CONTINUATION, 0, 1, &[]))).contains("block that is too long"));
    assert!(misunderstood(&flood(frame(CONTINUATION, 0, 1, &[0x82; 8_000]))).contains("block that is too long"));
    // One octet for 4,000 in the list.
    let bomb = [&[0x40, 1, b'n', 0x7f, 0xa1, 0x1e][..], &[b'x'; 4_000], &[0xbe; 16]].concat();
    assert!(misunderstood(&headers(&bomb)).contains("list of headers"));
    // Strings of nothing count as well.
    assert!(misunderstood(&headers(&[0x04, 0x80].repeat(8_000))).contains("list of headers"));
}

/// A table of another size forgets the same entries as the client's.
#[test]
fn a_smaller_table_forgets_what_no_longer_fits() {
    let add = |name: u8| [0x40, 1, name, 0];
    let size = |size: u8| [0x3f, size - 31];
    let both = || [&add(b'a')[..], &add(b'b'), &[0xbf, 0xbe]].concat();
    let want = |names: &[&str]| Seen::Headers(1, 0, names.iter().flat_map(|name| fields(&[(name, "")])).collect());
    assert_eq!(seen(&understood(&headers(&both()))), [want(&["a", "b", "a", "b"])]);
    // 33 bytes an entry.
    let resized = |size: [u8; 2], next: &[u8]| [headers(&both()), headers(&[&size[..], next].concat())].concat();
    assert_eq!(seen(&understood(&resized(size(66), &[0xbf])))[1], want(&["a"]));
    assert_eq!(seen(&understood(&resized(size(65), &[0xbe])))[1], want(&["b"]));
    assert!(misunderstood(&resized(size(65), &[0xbf])).contains("index"));
    assert!(misunderstood(&resized(size(32), &[0xbe])).contains("index"));
}

#[tokio::test]
async fn what_comes_before_something_malformed_is_read_before_the_error() {
    let ping = frame(PING, 0, 0, &[7; 8]);
    let good = [PREFACE, &ping, &headers(&[0x82])].concat();
    let (mut client, server) = tokio::io::duplex(64 * 1024);
    client.write_all(&[&good, &headers(&[0x3f])[..], &ping].concat()).await.unwrap();
    let mut server = AnyAuthority::new(server);
    let mut read = Vec::new();
    let error = loop {
        match server.read_buf(&mut read).await {
            Ok(count) => assert_ne!(count, 0, "the error is told at once"),
            Err(error) => break error,
        }
    };
    assert_eq!(read, rewrite(&good, usize::MAX).0);
    // Of a kind that does not count as the client's word.
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert_eq!(server.read_u8().await.unwrap_err().kind(), io::ErrorKind::InvalidData, "told again");
}

#[tokio::test]
async fn a_small_reader_gets_all_of_it_and_then_the_end() {
    let mut sent = PREFACE.to_vec();
    let bomb = [&[0x40, 1, b'n', 0x7f, 0xa1, 0x1e][..], &[b'x'; 4_000], &[0xbe; 14]].concat();
    sent.extend(headers(&bomb));
    sent.extend(headers(&[0xbe; 15]).repeat(200));
    sent.extend(frame(DATA, 0, 1, &[1; 10_000]));
    let want = rewrite(&sent, usize::MAX).0;
    let (mut client, server) = tokio::io::duplex(1024);
    let writing = tokio::spawn(async move { client.write_all(&sent).await });
    let mut server = AnyAuthority::new(server);
    let mut read: Vec<u8> = Vec::new();
    let mut buffer = [0; 777];
    loop {
        let count = server.read(&mut buffer).await.unwrap();
        read.extend(&buffer[..count]);
        // One block beyond what is read at a time, at most.
        assert!(server.output.bytes.capacity() < 160 * 1024 && server.input.len() < CHUNK);
        if count == 0 {
            break;
        }
    }
    assert_eq!(read, want);
    assert_eq!((server.input.capacity(), server.output.bytes.capacity()), (0, 0), "nothing is kept");
    writing.await.unwrap().unwrap();
}

/// Decodes a block with another decoder.
fn by_another(decoder: &mut OtherDecoder<'_>, block: &[u8]) -> Result<Fields, ()> {
    decoder.decode(block).map_err(|_| ())
}

fn by_ours(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, Malformed> {
    let mut fields = Vec::new();
    decoder.decode(block, |name, value| {
        fields.push((name.to_vec(), value.to_vec()));
        Ok(())
    })?;
    Ok(fields)
}

/// Parts of a header block, most of them sound.
fn part() -> impl Strategy<Value = Vec<u8>> {
    let string = || {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40).prop_map(|text| [&[text.len() as u8][..], &text].concat()),
            "[a-z]{0,3}".prop_map(|text| [&[text.len() as u8][..], text.as_bytes()].concat()),
            // ":authority", and any octets, in Huffman's code.
            Just([&[0x88][..], &[184, 59, 83, 57, 236, 50, 125, 127]].concat()),
            prop::collection::vec(any::<u8>(), 0..3)
                .prop_map(|coded| [&[0x80 | coded.len() as u8][..], &coded].concat()),
        ]
    };
    let literal = |first: &'static [u8]| {
        (select(first), string(), string()).prop_map(|(first, name, value)| match first {
            0x00 | 0x10 | 0x40 => [&[first][..], &name, &value].concat(),
            _ => [&[first][..], &value].concat(),
        })
    };
    prop_oneof![
        2 => (0x81..=0xc6u8).prop_map(|index| vec![index]),
        4 => literal(&[0x40, 0x41, 0x44, 0x7e]),
        2 => literal(&[0x00, 0x01, 0x0e, 0x10, 0x11]),
        1 => prop::collection::vec(any::<u8>(), 1..6),
    ]
}

fn block() -> impl Strategy<Value = Vec<u8>> {
    const UPDATES: &[&[u8]] = &[&[], &[0x20], &[0x3f, 0x45], &[0x20, 0x3f, 0xe1, 0x1f], &[0x3f, 0xe2, 0x1f]];
    let update = select(UPDATES);
    (update, prop::collection::vec(part(), 0..8)).prop_map(|(update, parts)| [update, &parts.concat()].concat())
}

proptest! {
    #[test]
    fn the_code_is_as_another_decoder_has_it(coded in prop::collection::vec(any::<u8>(), 0..24), end in any::<bool>()) {
        let coded = if end { [&coded[..], &[0xff]].concat() } else { coded };
        prop_assert_eq!(huffman::decode(&coded).ok(), HuffmanDecoder::new().decode(&coded).ok());
    }

    /// Any block decodes to fields or to an error, and another decoder agrees.
    #[test]
    fn blocks_are_as_another_decoder_has_them(blocks in prop::collection::vec(block(), 1..12)) {
        let (mut ours, mut other) = (Decoder::new(), OtherDecoder::new());
        other.set_max_allowed_table_size(4_096);
        for block in blocks {
            match (by_ours(&mut ours, &block), by_another(&mut other, &block)) {
                (Ok(fields), Ok(same)) => prop_assert_eq!(fields, same),
                // We refuse a table size in the middle, and the other one a block of nothing else.
                (Err(Malformed(says)), Ok(_)) if says.contains("behind") => break,
                (Ok(fields), Err(())) if fields.is_empty() => break,
                (Err(_), Err(())) => break,
                (ours, other) => prop_assert!(false, "{ours:?} and {other:?} of {block:x?}"),
            }
        }
    }

    /// Any bytes, and sound frames of any payload: no panic, and no difference by how they are cut.
    #[test]
    fn it_does_not_matter_how_bytes_are_cut(
        frames in prop::collection::vec(
            (select(&[DATA, HEADERS, HEADERS, CONTINUATION, PING][..]), any::<u8>(), 1..3u32, block()), 0..8),
        garbage in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let frames = frames.iter().flat_map(|(kind, flags, stream, payload)| frame(*kind, *flags, *stream, payload));
        fuzzing::frames(&frames.chain(garbage).collect::<Vec<_>>());
    }

    /// Requests of a sound encoder arrive without authorities and in order, however they are framed.
    #[test]
    fn requests_arrive_without_their_authority(
        requests in prop::collection::vec((request(), any::<Index>(), 0..9u8, any::<bool>()), 1..20),
        piece in 1..100usize,
    ) {
        let mut encoder = Encoder::new();
        let (mut sent, mut want) = (PREFACE.to_vec(), Vec::new());
        for (fields, cut, padding, ends) in requests {
            let block = encoder.encode(fields.iter().map(|(name, value)| (&name[..], &value[..])));
            let (first, second) = block.split_at(cut.index(block.len() + 1));
            let payload = [&[padding, 0, 0, 0, 0, 9][..], first, &vec![0xff; padding.into()]].concat();
            let end = if ends { END_STREAM } else { 0 };
            sent.extend(frame(HEADERS, PADDED | PRIORITY | end, 1, &payload));
            sent.extend(frame(CONTINUATION, END_HEADERS, 1, second));
            sent.extend(frame(DATA, PADDED, 1, &block));
            let left = fields.into_iter().filter(|(name, _)| name != b":authority").collect();
            want.extend([Seen::Headers(1, end, left), Seen::Other(DATA, PADDED, 1, block)]);
        }
        let (output, malformed) = rewrite(&sent, piece);
        prop_assert_eq!(malformed, None);
        prop_assert_eq!(seen(&output[PREFACE.len()..]), want);
    }
}

/// Makes the fields of a request. There are few names and values, so that the encoder refers to earlier ones, and some
/// that fill its table.
fn request() -> impl Strategy<Value = Fields> {
    let name = select(&[":authority", ":path", "te", "grpc-timeout", "x", "user-agent"][..]);
    let value = prop_oneof![Just(String::new()), "[/%a-c]{1,2}", "[a-z/%]{300,900}"];
    let field = (name, value).prop_map(|(name, value)| (name.into(), value.into_bytes()));
    prop::collection::vec(field, 0..12)
}

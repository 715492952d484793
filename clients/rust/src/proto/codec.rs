//! Encodes and decodes messages, with buffers of a size that suits them.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::{ProstDecoder, ProstEncoder};

/// prost's codec with buffers as small as the messages: tonic's own sets aside 8 KiB for each call for as long as it
/// lasts, and a lock on a stream of its own lasts long.
#[derive(Debug)]
pub struct SmallCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for SmallCodec<T, U> {
    fn default() -> SmallCodec<T, U> {
        SmallCodec(PhantomData)
    }
}

impl<T, U> Codec for SmallCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> ProstEncoder<T> {
        ProstEncoder::new(buffers())
    }

    fn decoder(&mut self) -> ProstDecoder<U> {
        ProstDecoder::new(buffers())
    }
}

/// Returns the sizes of buffers: at first an `acquired` with its frame, and where more is sent at once as much as
/// tonic would gather.
fn buffers() -> BufferSettings {
    BufferSettings::new(128, 32 * 1024)
}

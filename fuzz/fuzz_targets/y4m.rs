//! YUV4MPEG2: any bytes are pictures of the promised size, or an error.
#![no_main]

use camlive::source::y4m::Stream;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(mut stream) = Stream::open(data) else { return };
    let wanted = stream.header().picture_bytes();
    while let Ok(Some(planes)) = stream.read_planes() {
        assert_eq!(planes.len() as u64, wanted);
    }
});

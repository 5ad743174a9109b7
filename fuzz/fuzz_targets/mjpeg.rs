//! A camera's JPEG: any bytes are a whole picture or an error, never one of more than 64 Mpx.
//!
//! The decoder's own panics are caught by camlive, and so are no finding here.
#![no_main]

use camlive::frame::Frame;
use camlive::source::decode::Mjpeg;
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: {
    // libfuzzer aborts in the hook, before camlive can catch the panic.
    std::panic::set_hook(Box::new(|_| {}));
}, |data: &[u8]| {
    let mut frame = Frame::empty();
    if Mjpeg::default().decode(&mut frame, data, None).is_ok() {
        assert_eq!(frame.rgb.len() as u64, 3 * frame.size.area());
    }
});

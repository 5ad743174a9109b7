//! Motion JPEG: any bytes split into pictures from SOI to EOI, and the splitter comes to an end.
#![no_main]

use camlive::source::mjpeg_stream::Splitter;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut splitter = Splitter::new(data);
    let mut picture = Vec::new();
    let mut total = 0;
    loop {
        match splitter.read_picture(&mut picture) {
            Ok(true) => {
                assert!(picture.starts_with(&[0xFF, 0xD8]) && picture.ends_with(&[0xFF, 0xD9]));
                total += picture.len();
            }
            Ok(false) => break,
            Err(_) => {}
        }
    }
    assert!(total <= data.len());
});

//! The check of a model file before tract sees it: any bytes are accepted or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = camlive::network::check::check(data);
});

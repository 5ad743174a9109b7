//! What several test files share.

/// Says why a test cannot run here; the caller returns.
///
/// # Panics
/// With `CAMLIVE_NO_SKIP=1`: where nothing may be left out, a would-be skip is a failure.
pub fn skip(why: &str) {
    assert!(std::env::var_os("CAMLIVE_NO_SKIP").is_none_or(|v| v != "1"), "would skip: {why}");
    println!("SKIPPED: {why}");
}

//! The time of day of an instant.

use std::time::{Duration, Instant, SystemTime};

/// Maps instants of the monotonic clock to the time of day. Made once, so that a correction of
/// the system's clock during a run cannot make events go backwards.
#[derive(Debug, Clone, Copy)]
pub struct WallClock {
    instant: Instant,
    time: SystemTime,
}

impl WallClock {
    /// Ties the monotonic clock to the time of day as they are now.
    pub fn start() -> Self {
        Self { instant: Instant::now(), time: SystemTime::now() }
    }

    /// The time of day at `instant`.
    pub fn time_of(&self, instant: Instant) -> SystemTime {
        match instant.checked_duration_since(self.instant) {
            Some(later) => self.time + later,
            None => self.time - self.instant.duration_since(instant),
        }
    }

    /// The time of day at `instant` as RFC 3339 in UTC with milliseconds.
    pub fn rfc3339(&self, instant: Instant) -> impl std::fmt::Display + use<> {
        humantime::format_rfc3339_millis(self.time_of(instant))
    }
}

/// A duration in milliseconds, as events and tables give it.
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_before_and_after_the_start_have_a_time_of_day() {
        let clock = WallClock {
            instant: Instant::now() + Duration::from_secs(60),
            time: SystemTime::UNIX_EPOCH + Duration::from_secs(100),
        };
        let early = clock.instant - Duration::from_millis(1500);
        let late = clock.instant + Duration::from_millis(1500);
        assert_eq!(clock.rfc3339(early).to_string(), "1970-01-01T00:01:38.500Z");
        assert_eq!(clock.rfc3339(late).to_string(), "1970-01-01T00:01:41.500Z");
    }
}

//! The same number for the same thing from frame to frame.

use crate::geometry::Rect;
use crate::localize::Detection;

/// Boxes of the same class that overlap at least this much from one frame to the next are taken
/// for the same thing.
const MIN_IOU: f64 = 0.3;

/// For how many frames a thing may go unseen and still keep its number.
const MEMORY: u32 = 15;

/// Numbers detections: each one takes the number of the track of its class that it overlaps most,
/// or the next free number.
#[derive(Debug, Default)]
pub struct Tracker {
    tracks: Vec<Track>,
    last: u64,
}

#[derive(Debug)]
struct Track {
    number: u64,
    class: usize,
    rect: Rect,
    unseen: u32,
}

impl Tracker {
    /// Sets the `track` of the detections of the next frame, the first ones choosing first.
    pub fn number(&mut self, detections: &mut [Detection]) {
        for track in &mut self.tracks {
            track.unseen += 1;
        }
        for detection in detections {
            let free =
                self.tracks.iter_mut().filter(|t| t.unseen > 0 && t.class == detection.class);
            let nearest = free
                .map(|track| (track.rect.iou(detection.rect), track))
                .max_by(|(a, _), (b, _)| a.total_cmp(b));
            match nearest {
                Some((iou, track)) if iou >= MIN_IOU => {
                    track.rect = detection.rect;
                    track.unseen = 0;
                    detection.track = track.number;
                }
                _ => {
                    self.last += 1;
                    detection.track = self.last;
                    self.tracks.push(Track {
                        number: self.last,
                        class: detection.class,
                        rect: detection.rect,
                        unseen: 0,
                    });
                }
            }
        }
        self.tracks.retain(|track| track.unseen <= MEMORY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Point;

    fn detection(class: usize, x: u32) -> Detection {
        let rect = Rect::new(x, 0, x + 10, 10);
        Detection { class, score: 0.5, rect, peak: Point::default(), track: 0 }
    }

    fn numbers(tracker: &mut Tracker, detections: &[Detection]) -> Vec<u64> {
        let mut detections = detections.to_vec();
        tracker.number(&mut detections);
        detections.iter().map(|d| d.track).collect()
    }

    #[test]
    fn a_thing_that_moves_a_little_keeps_its_number() {
        let mut tracker = Tracker::default();
        assert_eq!(numbers(&mut tracker, &[detection(1, 0)]), [1]);
        assert_eq!(numbers(&mut tracker, &[detection(1, 4)]), [1]);
        assert_eq!(numbers(&mut tracker, &[detection(1, 8)]), [1]);
    }

    #[test]
    fn another_class_or_a_place_far_away_gets_another_number() {
        let mut tracker = Tracker::default();
        numbers(&mut tracker, &[detection(1, 0)]);
        assert_eq!(numbers(&mut tracker, &[detection(2, 0), detection(1, 50)]), [2, 3]);
    }

    #[test]
    fn two_boxes_of_one_frame_never_share_a_number() {
        let mut tracker = Tracker::default();
        numbers(&mut tracker, &[detection(1, 0)]);
        assert_eq!(numbers(&mut tracker, &[detection(1, 1), detection(1, 2)]), [1, 2]);
    }

    #[test]
    fn a_number_outlives_a_short_absence_and_is_never_used_again() {
        let mut tracker = Tracker::default();
        numbers(&mut tracker, &[detection(1, 0)]);
        for _ in 0..MEMORY {
            numbers(&mut tracker, &[]);
        }
        assert_eq!(numbers(&mut tracker, &[detection(1, 0)]), [1]);
        for _ in 0..=MEMORY {
            numbers(&mut tracker, &[]);
        }
        assert_eq!(numbers(&mut tracker, &[detection(1, 0)]), [2]);
    }
}

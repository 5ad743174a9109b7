//! What the steady state allocates, counted by the program's allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use camlive::frame::Frame;
use camlive::localize::{Boxes, Findings, Localizer, Settings, Wanted};
use camlive::network::{ModelOptions, Network};
use camlive::pipeline::analyse::Analyser;
use camlive::source::demo::Demo;

/// Counts what all threads ask for.
struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn analysing_a_frame_allocates_nothing() {
    for threads in [1, 2] {
        let options = ModelOptions { threads: Some(threads), ..Default::default() };
        let network = Network::load(&options).unwrap();
        let localizer = Localizer::new(Wanted::Top(2), network.input_size(), true);
        let mut analyser = Analyser::new(network, localizer);
        let settings = Settings { threshold: 0.2, boxes: Boxes::Largest, shown: 0 };
        let (mut demo, mut frame) = (Demo::open().unwrap(), Frame::empty());
        let mut findings = Findings::default();
        let mut count = 0;
        for sequence in 0..150 {
            demo.at(sequence, &mut frame).unwrap();
            let before = COUNT.load(Ordering::Relaxed);
            analyser.analyse(&frame, &settings, &mut findings).unwrap();
            // The buffers grow with what is found.
            if sequence >= 100 {
                count += COUNT.load(Ordering::Relaxed) - before;
            }
        }
        assert_eq!(count, 0, "in 50 frames, {threads} threads");
    }
}

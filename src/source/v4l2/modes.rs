//! What a V4L2 device offers, in the words of [`Mode`].

use v4l::frameinterval::{FrameIntervalEnum, Stepwise as IntervalRange};
use v4l::framesize::{FrameSizeEnum, Stepwise as SizeRange};
use v4l::video::Capture;
use v4l::{Device, FourCC, Fraction};

use super::queue;
use crate::geometry::Size;
use crate::source::camera::{Interval, Mode, Wanted};
use crate::source::decode::{Coding, PixelFormat, Range};

/// The code by which V4L2 knows a format.
pub fn code(format: PixelFormat) -> FourCC {
    FourCC::new(match format {
        PixelFormat::Rgb3 => b"RGB3",
        PixelFormat::Bgr3 => b"BGR3",
        PixelFormat::Nv12 => b"NV12",
        PixelFormat::Yuyv => b"YUYV",
        PixelFormat::Mjpeg => b"MJPG",
        PixelFormat::Grey => b"GREY",
    })
}

/// The format of a code; JPEG is what some drivers call MJPEG.
pub fn format(fourcc: FourCC) -> Option<PixelFormat> {
    if fourcc.repr == *b"JPEG" {
        return Some(PixelFormat::Mjpeg);
    }
    PixelFormat::ALL.into_iter().find(|&format| code(format) == fourcc)
}

/// The modes of `device` that can be decoded; of a range of sizes or intervals, what is nearest to
/// `wanted`.
pub fn modes(device: &Device, wanted: &Wanted) -> Vec<Mode> {
    let mut modes = Vec::new();
    for fourcc in queue::pixel_formats(device).into_iter().map(FourCC::from) {
        let Some(format) = format(fourcc) else { continue };
        for size in sizes(device, fourcc, wanted.size) {
            for interval in intervals(device, fourcc, size, wanted.rate) {
                modes.push(Mode { format, size, interval });
            }
        }
    }
    modes
}

/// A driver that does not say is asked for the wanted size, and answers with what it can do.
fn sizes(device: &Device, fourcc: FourCC, wanted: Size) -> Vec<Size> {
    let Ok(sizes) = device.enum_framesizes(fourcc) else { return vec![wanted] };
    let size = |size| match size {
        FrameSizeEnum::Discrete(size) => Size::new(size.width, size.height),
        FrameSizeEnum::Stepwise(range) => nearest_size(&range, wanted),
    };
    sizes.into_iter().map(|s| size(s.size)).collect()
}

fn intervals(device: &Device, fourcc: FourCC, size: Size, rate: u32) -> Vec<Option<Interval>> {
    let Ok(intervals) = device.enum_frameintervals(fourcc, size.width, size.height) else {
        return vec![None];
    };
    let interval = |interval| match interval {
        FrameIntervalEnum::Discrete(Fraction { numerator, denominator }) => {
            Interval { numerator, denominator }
        }
        FrameIntervalEnum::Stepwise(range) => nearest_interval(&range, rate),
    };
    intervals.into_iter().map(|i| Some(interval(i.interval))).collect()
}

/// The smallest size of a range that is not below `wanted`, else the largest, side by side.
fn nearest_size(range: &SizeRange, wanted: Size) -> Size {
    let side = |min: u32, max: u32, step: u32, wanted: u32| {
        let (step, max) = (step.max(1), max.max(min));
        let steps = wanted.saturating_sub(min).div_ceil(step).min((max - min) / step);
        min + steps * step
    };
    Size::new(
        side(range.min_width, range.max_width, range.step_width, wanted.width),
        side(range.min_height, range.max_height, range.step_height, wanted.height),
    )
}

/// The interval of a range that is nearest to `rate` a second. Within the range the driver rounds
/// to a step of its own.
fn nearest_interval(range: &IntervalRange, rate: u32) -> Interval {
    let interval = |f: &Fraction| Interval { numerator: f.numerator, denominator: f.denominator };
    let (fastest, slowest) = (interval(&range.min), interval(&range.max));
    let wanted = Interval { numerator: 1, denominator: rate };
    // A numerator of 0 is no limit, as is the 0 to which `rate` then comes.
    if fastest.numerator != 0 && wanted.rate() > fastest.rate() {
        fastest
    } else if wanted.rate() < slowest.rate() {
        slowest
    } else {
        wanted
    }
}

/// How a driver's Y'CbCr is coded: as it says, else as V4L2's defaults for its colour space have it
/// (BT.601 in the limited range, for most).
pub fn coding(colorspace: u32, ycbcr_enc: u32, quantization: u32) -> Coding {
    use v4l::v4l_sys::{
        v4l2_colorspace_V4L2_COLORSPACE_BT2020 as SPACE_BT2020,
        v4l2_colorspace_V4L2_COLORSPACE_DCI_P3 as SPACE_DCI_P3,
        v4l2_colorspace_V4L2_COLORSPACE_JPEG as SPACE_JPEG,
        v4l2_colorspace_V4L2_COLORSPACE_REC709 as SPACE_REC709,
        v4l2_quantization_V4L2_QUANTIZATION_FULL_RANGE as FULL_RANGE,
        v4l2_quantization_V4L2_QUANTIZATION_LIM_RANGE as LIMITED_RANGE,
        v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_709 as BT709,
        v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_BT2020 as BT2020,
        v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_BT2020_CONST_LUM as BT2020_CONSTANT,
        v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_DEFAULT as DEFAULT,
        v4l2_ycbcr_encoding_V4L2_YCBCR_ENC_XV709 as XV709,
    };
    let range = match quantization {
        FULL_RANGE => Range::Full,
        LIMITED_RANGE => Range::Limited,
        _ if colorspace == SPACE_JPEG => Range::Full,
        _ => Range::Limited,
    };
    match (ycbcr_enc, colorspace) {
        (BT709 | XV709, _) | (DEFAULT, SPACE_REC709 | SPACE_DCI_P3) => Coding::bt709(range),
        (BT2020 | BT2020_CONSTANT, _) | (DEFAULT, SPACE_BT2020) => Coding::bt2020(range),
        _ => Coding::bt601(range),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_range(min: u32, max: u32, step: u32) -> SizeRange {
        SizeRange {
            min_width: min,
            max_width: max,
            step_width: step,
            min_height: min,
            max_height: max,
            step_height: step,
        }
    }

    #[test]
    fn a_range_of_sizes_gives_the_next_that_is_large_enough() {
        let wanted = Size::new(640, 480);
        assert_eq!(nearest_size(&size_range(16, 4096, 1), wanted), wanted);
        assert_eq!(nearest_size(&size_range(16, 4096, 100), wanted), Size::new(716, 516));
        assert_eq!(nearest_size(&size_range(16, 400, 32), wanted), Size::new(400, 400));
        assert_eq!(nearest_size(&size_range(800, 4096, 8), wanted), Size::new(800, 800));
    }

    #[test]
    fn a_range_of_sizes_that_makes_no_sense_gives_its_lower_end() {
        assert_eq!(nearest_size(&size_range(64, 0, 0), Size::new(9, 99)), Size::new(64, 64));
    }

    #[test]
    fn a_range_of_intervals_gives_the_wanted_rate_or_its_nearest_end() {
        let range = |fast: (u32, u32), slow: (u32, u32)| IntervalRange {
            min: Fraction::new(fast.0, fast.1),
            max: Fraction::new(slow.0, slow.1),
            step: Fraction::new(1, 1),
        };
        let rate = |range, wanted| nearest_interval(&range, wanted).rate();
        assert_eq!(rate(range((1, 60), (1, 5)), 30), 30.0);
        assert_eq!(rate(range((1, 20), (1, 5)), 30), 20.0);
        assert_eq!(rate(range((1, 60), (1, 5)), 2), 5.0);
        assert_eq!(rate(range((0, 1), (u32::MAX, 1)), 30), 30.0);
    }

    #[test]
    fn every_format_has_a_code_of_its_own() {
        for known in PixelFormat::ALL {
            assert_eq!(format(code(known)), Some(known));
        }
        assert_eq!(format(FourCC::new(b"JPEG")), Some(PixelFormat::Mjpeg));
        assert_eq!(format(FourCC::new(b"pRAA")), None);
    }

    #[test]
    fn a_driver_that_says_nothing_means_bt601_in_the_limited_range() {
        assert_eq!(coding(0, 0, 0), Coding::bt601(Range::Limited));
        // sRGB, as UVC cameras have it.
        assert_eq!(coding(8, 0, 0), Coding::bt601(Range::Limited));
    }

    #[test]
    fn a_driver_is_believed_before_its_colour_space() {
        assert_eq!(coding(3, 0, 0), Coding::bt709(Range::Limited));
        assert_eq!(coding(3, 1, 1), Coding::bt601(Range::Full));
        assert_eq!(coding(7, 0, 0), Coding::bt601(Range::Full));
        assert_eq!(coding(10, 0, 2), Coding::bt2020(Range::Limited));
    }
}

//! YUV4MPEG2 (Y4M): uncompressed planar pictures, as `ffmpeg -f yuv4mpegpipe` writes them.
//!
//! Source: the format's manual page, yuv4mpeg(5) of mjpegtools.

use std::io::{BufRead, Read};
use std::time::{Duration, Instant};

use super::decode::{Coding, Plane, Range, planar};
use super::reader::{LONGEST_INTERVAL, Pictures};
use crate::error::{Error, Result};
use crate::frame::{Frame, check_size};
use crate::geometry::Size;

/// What every stream begins with.
pub const MAGIC: &[u8] = b"YUV4MPEG2 ";

/// The longest header line that is accepted; real ones have about 60 bytes.
const LONGEST_LINE: u64 = 4096;

/// What the stream's first line says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Header {
    pub size: Size,
    /// By what power of two the chroma planes are smaller than the luma plane, in width and in
    /// height, rounded up; `None` where there are none.
    pub chroma: Option<(u32, u32)>,
    /// Luma uses 0-255 instead of 16-235.
    pub full_range: bool,
    /// The time of one frame; zero where the stream does not say.
    pub interval: Duration,
}

impl Header {
    /// Bytes of one picture: the luma plane, then the two chroma planes.
    pub fn picture_bytes(&self) -> u64 {
        self.size.area() + 2 * self.chroma_bytes()
    }

    fn chroma_bytes(&self) -> u64 {
        let Some((x, y)) = self.chroma else { return 0 };
        Size::new(self.size.width.div_ceil(1 << x), self.size.height.div_ceil(1 << y)).area()
    }

    /// The format does not say: high definition is BT.709, as players take it.
    fn coding(&self) -> Coding {
        let range = if self.full_range { Range::Full } else { Range::Limited };
        if self.size.width >= 1280 || self.size.height > 576 {
            Coding::bt709(range)
        } else {
            Coding::bt601(range)
        }
    }
}

/// A stream of pictures.
#[derive(Debug)]
pub struct Stream<R> {
    input: R,
    header: Header,
    line: Vec<u8>,
    planes: Vec<u8>,
}

impl<R: BufRead> Stream<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// `Invalid` where this is no YUV4MPEG2, a picture has no pixels or too many, or the pixel
    /// format is not one of 8-bit 4:2:0, 4:2:2, 4:1:1,
    /// 4:4:4 or grey.
    pub fn open(mut input: R) -> Result<Self> {
        let mut line = Vec::new();
        if !read_line(&mut input, &mut line)? {
            return Err(Error::invalid("YUV4MPEG2: the stream is empty"));
        }
        let header = parse_header(&line)?;
        Ok(Self { input, header, line, planes: Vec::new() })
    }

    pub fn header(&self) -> Header {
        self.header
    }

    /// The next picture's planes, one after the other without padding; `None` at the end.
    /// Memory grows with the bytes that arrive, not with what the header promises.
    ///
    /// # Errors
    /// `Invalid` where the stream ends within a picture or another thing stands where a picture
    /// should begin: there is no way to find the next one.
    pub fn read_planes(&mut self) -> Result<Option<&[u8]>> {
        if !read_line(&mut self.input, &mut self.line)? {
            return Ok(None);
        }
        if self.line != b"FRAME" && !self.line.starts_with(b"FRAME ") {
            return Err(Error::invalid("YUV4MPEG2: no FRAME line where a picture should begin"));
        }
        let wanted = self.header.picture_bytes();
        self.planes.clear();
        let arrived = (&mut self.input)
            .take(wanted)
            .read_to_end(&mut self.planes)
            .map_err(|e| Error::invalid(format!("YUV4MPEG2: {e}")))?;
        if (arrived as u64) < wanted {
            return Err(Error::invalid(format!(
                "YUV4MPEG2: the last picture is cut short ({arrived} of {wanted} bytes)"
            )));
        }
        Ok(Some(&self.planes))
    }
}

impl<R: BufRead + Send> Pictures for Stream<R> {
    fn read(&mut self, frame: &mut Frame) -> Result<bool> {
        let header = self.header;
        let Some(planes) = self.read_planes()? else { return Ok(false) };
        let arrived = Instant::now();
        frame.captured = arrived;
        let (luma, chroma) = planes.split_at(header.size.area() as usize);
        let (cb, cr) = chroma.split_at(header.chroma_bytes() as usize);
        let plane = |data| Plane { data, stride: 0 };
        planar(
            frame,
            header.size,
            plane(luma),
            header.chroma.map(|_| [plane(cb), plane(cr)]),
            header.chroma.unwrap_or_default(),
            &header.coding(),
        )?;
        frame.decoding = arrived.elapsed();
        Ok(true)
    }

    fn describe(&self) -> String {
        let Header { size, interval, .. } = self.header;
        match interval.as_secs_f64() {
            0.0 => format!("YUV4MPEG2 {size}"),
            seconds => format!("YUV4MPEG2 {size} at {} fps", (100.0 / seconds).round() / 100.0),
        }
    }

    fn interval(&self) -> Duration {
        self.header.interval
    }
}

/// Understands the stream's first line.
fn parse_header(line: &[u8]) -> Result<Header> {
    let parameters = line
        .strip_prefix(MAGIC)
        .ok_or_else(|| Error::invalid("not YUV4MPEG2: the first line is another one"))?;

    let mut size = Size::default();
    let mut chroma = Some((1, 1));
    let mut full_range = false;
    let mut interval = Duration::ZERO;
    for parameter in parameters.split(|b| *b == b' ').filter(|p| !p.is_empty()) {
        let value = String::from_utf8_lossy(&parameter[1..]);
        match parameter[0] {
            b'W' => size.width = side(&value)?,
            b'H' => size.height = side(&value)?,
            b'C' => chroma = parse_chroma(&value)?,
            b'F' => interval = parse_interval(&value),
            b'X' if value == "COLORRANGE=FULL" => full_range = true,
            _ => {}
        }
    }
    check_size(size).map_err(|e| Error::invalid(format!("YUV4MPEG2: {e}")))?;
    Ok(Header { size, chroma, full_range, interval })
}

fn side(value: &str) -> Result<u32> {
    value.parse().map_err(|_| Error::invalid(format!("YUV4MPEG2: {value:?} is no width or height")))
}

fn parse_chroma(value: &str) -> Result<Option<(u32, u32)>> {
    match value {
        "420" | "420jpeg" | "420mpeg2" | "420paldv" => Ok(Some((1, 1))),
        "411" => Ok(Some((2, 0))),
        "422" => Ok(Some((1, 0))),
        "444" => Ok(Some((0, 0))),
        "mono" => Ok(None),
        _ => Err(Error::invalid(format!(
            "YUV4MPEG2: cannot read the pixel format {value:?}; write yuv420p \
             (ffmpeg: -pix_fmt yuv420p)"
        ))),
    }
}

/// The time of one frame from `frames:seconds`; zero where it is unknown (`0:0`) or not a rate.
fn parse_interval(value: &str) -> Duration {
    let rate = value
        .split_once(':')
        .and_then(|(n, d)| Some((n.parse::<u32>().ok()?, d.parse::<u32>().ok()?)));
    match rate {
        Some((frames, seconds)) if frames > 0 => {
            Duration::from_secs_f64(f64::from(seconds) / f64::from(frames)).min(LONGEST_INTERVAL)
        }
        _ => Duration::ZERO,
    }
}

/// Puts the next line, without its end, into `line`; `false` where the input has ended.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> Result<bool> {
    line.clear();
    input
        .by_ref()
        .take(LONGEST_LINE)
        .read_until(b'\n', line)
        .map_err(|e| Error::invalid(format!("YUV4MPEG2: {e}")))?;
    match line.pop() {
        None => Ok(false),
        Some(b'\n') => Ok(true),
        Some(_) => Err(Error::invalid("YUV4MPEG2: a header line is cut short or too long")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn open(bytes: &[u8]) -> Result<Stream<&[u8]>> {
        Stream::open(bytes)
    }

    fn refusal(header: &str) -> String {
        open(header.as_bytes()).unwrap_err().to_string()
    }

    /// What a writer may say, and what a reader has to make of it.
    fn streams() -> impl Strategy<Value = (Header, Vec<u8>, Vec<Vec<u8>>)> {
        let chroma = prop::sample::select(vec![
            ("", Some((1, 1))),
            (" C420jpeg", Some((1, 1))),
            (" C420mpeg2", Some((1, 1))),
            (" C420paldv XYSCSS=420PALDV", Some((1, 1))),
            (" C411", Some((2, 0))),
            (" C422", Some((1, 0))),
            (" C444", Some((0, 0))),
            (" Cmono", None),
        ]);
        let range = prop::sample::select(vec![
            ("", false),
            (" XCOLORRANGE=LIMITED", false),
            (" XCOLORRANGE=FULL", true),
        ]);
        let frame = prop::sample::select(vec!["FRAME\n", "FRAME Ip\n", "FRAME XA=1 Ib\n"]);
        (1u32..20, 1u32..20, chroma, range, frame, 0usize..4, any::<u8>()).prop_map(
            |(width, height, (c, chroma), (x, full_range), frame, count, seed)| {
                let interval = Duration::from_millis(40);
                let header =
                    Header { size: Size::new(width, height), chroma, full_range, interval };
                let mut bytes =
                    format!("YUV4MPEG2 W{width} H{height} F25:1 It A1:1{c}{x}\n").into_bytes();
                let pictures: Vec<Vec<u8>> = (0..count)
                    .map(|i| {
                        (0..header.picture_bytes())
                            .map(|j| seed.wrapping_mul(31).wrapping_add((i as u64 * 7 + j) as u8))
                            .collect()
                    })
                    .collect();
                for picture in &pictures {
                    bytes.extend_from_slice(frame.as_bytes());
                    bytes.extend_from_slice(picture);
                }
                (header, bytes, pictures)
            },
        )
    }

    proptest! {
        #[test]
        fn what_was_written_is_read((header, bytes, pictures) in streams()) {
            let mut stream = open(&bytes).unwrap();
            prop_assert_eq!(stream.header(), header);
            for picture in &pictures {
                prop_assert_eq!(stream.read_planes().unwrap(), Some(&picture[..]));
            }
            prop_assert_eq!(stream.read_planes().unwrap(), None);
        }

        #[test]
        fn a_stream_that_is_cut_anywhere_ends_with_a_picture_or_an_error(
            (_, bytes, pictures) in streams(), cut in any::<prop::sample::Index>(),
        ) {
            let Ok(mut stream) = open(&bytes[..cut.index(bytes.len())]) else { return Ok(()) };
            let mut whole = 0;
            while let Ok(Some(planes)) = stream.read_planes() {
                prop_assert_eq!(planes, &pictures[whole][..]);
                whole += 1;
            }
            prop_assert!(whole <= pictures.len());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let bytes = [b"YUV4MPEG2 W4 H4 ", &bytes[..]].concat();
            if let Ok(mut stream) = open(&bytes) {
                while let Ok(Some(planes)) = stream.read_planes() {
                    prop_assert!(planes.len() < 200);
                }
            }
        }
    }

    #[test]
    fn a_header_cannot_ask_for_more_memory_than_bytes_arrive() {
        let mut stream = open(b"YUV4MPEG2 W8192 H8192\nFRAME\nfew bytes").unwrap();
        let error = stream.read_planes().unwrap_err();
        assert!(error.to_string().contains("cut short"), "{error}");
        assert!(stream.planes.capacity() < 4096);
    }

    #[test]
    fn pictures_without_pixels_or_with_too_many_are_refused() {
        for header in ["YUV4MPEG2 W0 H4\n", "YUV4MPEG2 H4\n", "YUV4MPEG2 \n"] {
            assert!(refusal(header).contains("no pixels"), "{header}");
        }
        assert!(refusal("YUV4MPEG2 W100000 H100000\n").contains("100000x100000"));
        assert!(refusal("YUV4MPEG2 W-1 H99999999999\n").contains("\"-1\""));
    }

    #[test]
    fn other_pixel_formats_are_refused_by_name() {
        for format in ["420p10", "444alpha", "mono16", "XYZ"] {
            let line = refusal(&format!("YUV4MPEG2 W4 H4 C{format}\n"));
            assert!(line.contains(format) && line.contains("yuv420p"), "{line}");
        }
    }

    #[test]
    fn a_header_line_without_an_end_is_refused() {
        assert!(refusal(&format!("YUV4MPEG2 {}", "W4 ".repeat(10_000))).contains("too long"));
    }

    #[test]
    fn a_rate_that_makes_no_sense_is_an_unknown_one() {
        for rate in ["0:0", "0:1", "30", "a:b", "", "-30:1"] {
            assert_eq!(parse_interval(rate), Duration::ZERO, "{rate:?}");
        }
        assert_eq!(parse_interval("30000:1001"), Duration::from_secs_f64(1001.0 / 30000.0));
        assert_eq!(parse_interval("1:4000000000"), LONGEST_INTERVAL);
    }

    #[test]
    fn planes_become_pixels_in_the_range_that_the_header_names() {
        for (range, white) in [("", 235), (" XCOLORRANGE=FULL", 255)] {
            let mut bytes = format!("YUV4MPEG2 W2 H2{range}\nFRAME\n").into_bytes();
            bytes.extend([white, white, white, white, 128, 128]);
            let mut frame = Frame::empty();
            assert!(open(&bytes).unwrap().read(&mut frame).unwrap());
            assert_eq!(frame.rgb, [255; 12]);
        }
    }
}

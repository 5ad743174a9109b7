//! The kernel's queue of buffers, and those calls that the crate `v4l` wraps in a panic or not at
//! all: the only unsafe code of camlive's sources.
//!
//! A buffer belongs either to the driver (queued) or to us (dequeued), never to both. [`Queue`]
//! lends a picture's bytes only for the length of a call, between taking the buffer out of the
//! queue and putting it back.
#![allow(unsafe_code)] // Memory shared with the kernel, and ioctls.

use std::ffi::c_void;
use std::io;
use std::time::Duration;

use v4l::Device;
use v4l::v4l_sys::*;
use v4l::v4l2::{self, vidioc};

/// The one kind of buffer that is read: whole pictures, in one plane.
const CAPTURE: u32 = v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE;
const MMAP: u32 = v4l2_memory_V4L2_MEMORY_MMAP;

/// Buffers asked for: one to be read, one to be filled, and two for when we are late.
const BUFFERS: u32 = 4;

/// Makes the call `request` with `argument`.
///
/// # Safety
/// `T` must be the type that `request` is defined with, and any pointer in it valid.
unsafe fn ioctl<T>(
    device: &Device,
    request: vidioc::_IOC_TYPE,
    argument: &mut T,
) -> io::Result<()> {
    // SAFETY: the kernel reads and writes one `T`, which is borrowed for the call.
    unsafe { v4l2::ioctl(device.handle().fd(), request, (&raw mut *argument).cast()) }
}

/// What the device is and can do (VIDIOC_QUERYCAP). `v4l` panics on a name that is not UTF-8, such
/// as one that the driver cut off within a letter.
pub fn capability(device: &Device) -> io::Result<v4l2_capability> {
    // SAFETY: the structure holds integers only, for which zero is a value; the types agree.
    unsafe {
        let mut capability: v4l2_capability = std::mem::zeroed();
        ioctl(device, vidioc::VIDIOC_QUERYCAP, &mut capability)?;
        Ok(capability)
    }
}

/// The codes (FourCC) of the device's pixel formats (VIDIOC_ENUM_FMT). `v4l` panics on a
/// description that is not UTF-8.
pub fn pixel_formats(device: &Device) -> Vec<u32> {
    let code = |index| {
        // SAFETY: the structure holds integers only, for which zero is a value; the types agree.
        unsafe {
            let mut description: v4l2_fmtdesc = std::mem::zeroed();
            description.index = index;
            description.type_ = CAPTURE;
            ioctl(device, vidioc::VIDIOC_ENUM_FMT, &mut description).ok()?;
            Some(description.pixelformat)
        }
    };
    (0..256).map_while(code).collect()
}

/// What a driver made of the format that it was asked for.
#[derive(Debug, Clone, Copy)]
pub struct PixFormat {
    pub width: u32,
    pub height: u32,
    pub code: u32,
    pub bytes_per_line: u32,
    pub colorspace: u32,
    pub ycbcr_enc: u32,
    pub quantization: u32,
}

/// Asks for a format (VIDIOC_S_FMT) and says which one the driver chose. `v4l` panics on values
/// that it does not know, and loses `ycbcr_enc`.
pub fn set_format(device: &Device, code: u32, width: u32, height: u32) -> io::Result<PixFormat> {
    // SAFETY: the structure holds integers only, for which zero is a value; the types agree; and
    // `pix` and `ycbcr_enc` are the members that hold for a capture of Y'CbCr, plain integers all.
    unsafe {
        let mut format: v4l2_format = std::mem::zeroed();
        format.type_ = CAPTURE;
        format.fmt.pix.width = width;
        format.fmt.pix.height = height;
        format.fmt.pix.pixelformat = code;
        format.fmt.pix.field = v4l2_field_V4L2_FIELD_NONE;
        // Says that the fields from `flags` on are known to us.
        format.fmt.pix.priv_ = V4L2_PIX_FMT_PRIV_MAGIC;
        ioctl(device, vidioc::VIDIOC_S_FMT, &mut format)?;
        let pix = format.fmt.pix;
        Ok(PixFormat {
            width: pix.width,
            height: pix.height,
            code: pix.pixelformat,
            bytes_per_line: pix.bytesperline,
            colorspace: pix.colorspace,
            ycbcr_enc: pix.__bindgen_anon_1.ycbcr_enc,
            quantization: pix.quantization,
        })
    }
}

/// Keeps the device out of the programs that camlive starts: a camera can be open in one only, and
/// `v4l` opens it without O_CLOEXEC.
pub fn close_on_exec(device: &Device) {
    // SAFETY: sets a flag of a descriptor that `device` holds open.
    unsafe { libc::fcntl(device.handle().fd(), libc::F_SETFD, libc::FD_CLOEXEC) };
}

/// A buffer of the driver in our address space.
struct Mapping {
    start: *mut c_void,
    length: usize,
}

// SAFETY: the mapping belongs to the process, not to the thread that made it.
unsafe impl Send for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `start` and `length` are those of a mapping that nothing else unmaps, and every
        // slice of it borrows the queue. A failure leaves it mapped, which harms nobody.
        let _ = unsafe { v4l2::munmap(self.start, self.length) };
    }
}

/// A picture as the driver delivered it.
#[derive(Debug)]
pub struct Picture<'a> {
    pub data: &'a [u8],
    /// The driver flags the data as damaged.
    pub corrupt: bool,
    /// Counts the camera's pictures from 0; see [`Counter`].
    pub sequence: u64,
    /// How long ago it was taken; `None` where the driver's clock is not the monotonic one.
    pub age: Option<Duration>,
}

/// A device that streams. Dropped, it stops, unmaps its buffers and closes the device.
pub struct Queue {
    // Unmapped before the device is closed.
    buffers: Vec<Mapping>,
    counter: Counter,
    device: Device,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("buffers", &self.buffers.len()).finish_non_exhaustive()
    }
}

impl Queue {
    /// Gets buffers for the format that is set, hands them to the driver and starts the stream.
    ///
    /// # Errors
    /// The kernel's: EBUSY where somebody else streams, ENOSPC where the USB lacks bandwidth.
    pub fn start(device: Device) -> io::Result<Self> {
        let mut queue = Self { buffers: Vec::new(), counter: Counter::default(), device };
        for index in 0..queue.request_buffers()? {
            let buffer = queue.buffer(vidioc::VIDIOC_QUERYBUF, index)?;
            let length = buffer.length as usize;
            // SAFETY: a fresh shared mapping at an address of the kernel's choice, of the length
            // and at the offset that the driver named. The driver answers with an offset, as the
            // buffer is of the kind MMAP.
            let start = unsafe {
                v4l2::mmap(
                    std::ptr::null_mut(),
                    length,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_SHARED,
                    queue.device.handle().fd(),
                    buffer.m.offset as libc::off_t,
                )?
            };
            queue.buffers.push(Mapping { start, length });
            queue.enqueue(index)?;
        }
        queue.stream(vidioc::VIDIOC_STREAMON)?;
        Ok(queue)
    }

    /// Waits at most `patience` for a picture and gives the newest to `read`; older ones that lie
    /// ready go back to the driver unread, but are counted. `None` where there is none yet.
    ///
    /// # Errors
    /// The kernel's: ENODEV where the device is gone, EIO where its stream failed.
    pub fn newest<R>(
        &mut self,
        patience: Duration,
        read: impl FnOnce(Picture<'_>) -> R,
    ) -> io::Result<Option<R>> {
        let mut poll =
            libc::pollfd { fd: self.device.handle().fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one `pollfd`, borrowed for the call.
        let ready = unsafe { libc::poll(&mut poll, 1, patience.as_millis() as i32) };
        if ready < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(None) } else { Err(error) };
        }
        if ready == 0 {
            return Ok(None);
        }
        let mut newest: Option<(v4l2_buffer, u64)> = None;
        // As often as there are buffers, and not until none is left: a camera faster than this
        // loop must not hold it.
        for _ in 0..self.buffers.len() {
            let buffer = match self.buffer(vidioc::VIDIOC_DQBUF, 0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                other => other?,
            };
            let sequence = self.counter.count(buffer.sequence);
            if let Some((older, _)) = newest.replace((buffer, sequence)) {
                self.enqueue(older.index)?;
            }
        }
        let Some((buffer, sequence)) = newest else {
            let broken = poll.revents & (libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) != 0;
            return if broken { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(None) };
        };
        let mapping = self
            .buffers
            .get(buffer.index as usize)
            .ok_or_else(|| io::Error::from_raw_os_error(libc::EIO))?;
        let length = (buffer.bytesused as usize).min(mapping.length);
        // SAFETY: the mapping has at least `length` bytes, lives as long as `self`, and the driver
        // leaves the buffer alone until it is queued again, after the slice's last use.
        let data = unsafe { std::slice::from_raw_parts(mapping.start.cast::<u8>(), length) };
        let corrupt = buffer.flags & V4L2_BUF_FLAG_ERROR != 0;
        let result = read(Picture { data, corrupt, sequence, age: age(&buffer) });
        self.enqueue(buffer.index)?;
        Ok(Some(result))
    }

    /// Asks for buffers (VIDIOC_REQBUFS); the driver has the last word on their number.
    fn request_buffers(&self) -> io::Result<u32> {
        // SAFETY: the structure holds integers only, for which zero is a value; the types agree.
        unsafe {
            let mut request: v4l2_requestbuffers = std::mem::zeroed();
            request.count = BUFFERS;
            request.type_ = CAPTURE;
            request.memory = MMAP;
            ioctl(&self.device, vidioc::VIDIOC_REQBUFS, &mut request)?;
            match request.count {
                0 => Err(io::Error::from_raw_os_error(libc::ENOMEM)),
                count => Ok(count),
            }
        }
    }

    fn enqueue(&self, index: u32) -> io::Result<()> {
        self.buffer(vidioc::VIDIOC_QBUF, index).map(drop)
    }

    /// Makes a call that takes a buffer: VIDIOC_QUERYBUF, VIDIOC_QBUF or VIDIOC_DQBUF.
    fn buffer(&self, request: vidioc::_IOC_TYPE, index: u32) -> io::Result<v4l2_buffer> {
        // SAFETY: zero is a value of every member, the pointer among them, which a buffer of the
        // kind MMAP leaves unused; the types agree.
        unsafe {
            let mut buffer: v4l2_buffer = std::mem::zeroed();
            buffer.index = index;
            buffer.type_ = CAPTURE;
            buffer.memory = MMAP;
            ioctl(&self.device, request, &mut buffer)?;
            Ok(buffer)
        }
    }

    /// VIDIOC_STREAMON or VIDIOC_STREAMOFF.
    fn stream(&self, request: vidioc::_IOC_TYPE) -> io::Result<()> {
        let mut kind = CAPTURE as std::ffi::c_int;
        // SAFETY: both calls take one int.
        unsafe { ioctl(&self.device, request, &mut kind) }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // Fails where the device is gone already.
        let _ = self.stream(vidioc::VIDIOC_STREAMOFF);
    }
}

/// How long ago the driver stamped a picture, where it used the monotonic clock.
fn age(buffer: &v4l2_buffer) -> Option<Duration> {
    if buffer.flags & V4L2_BUF_FLAG_TIMESTAMP_MASK != V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC {
        return None;
    }
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills one `timespec`, borrowed for the call.
    if unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) } != 0 {
        return None;
    }
    let now = Duration::new(now.tv_sec.try_into().ok()?, now.tv_nsec.try_into().ok()?);
    let stamp = Duration::new(
        buffer.timestamp.tv_sec.try_into().ok()?,
        u32::try_from(buffer.timestamp.tv_usec).ok()?.checked_mul(1000)?,
    );
    Some(now.saturating_sub(stamp))
}

/// Turns a driver's sequence numbers into a count of the camera's pictures in which a gap is a
/// loss.
///
/// A number that stands still, falls or leaps further than a camera can is no count: such a
/// picture counts as the one after the last.
#[derive(Debug, Default)]
pub struct Counter {
    /// The driver's last number, and what it was counted as.
    last: Option<(u32, u64)>,
}

impl Counter {
    /// More pictures than any camera makes before it is given up as silent.
    const LEAP: u32 = 5000;

    fn count(&mut self, driver: u32) -> u64 {
        let sequence = match self.last {
            None => 0,
            Some((last, sequence)) => match driver.wrapping_sub(last) {
                step @ 1..Self::LEAP => sequence + u64::from(step),
                _ => sequence + 1,
            },
        };
        self.last = Some((driver, sequence));
        sequence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(driver: &[u32]) -> Vec<u64> {
        let mut counter = Counter::default();
        driver.iter().map(|&number| counter.count(number)).collect()
    }

    #[test]
    fn a_gap_in_the_drivers_numbers_is_a_loss() {
        assert_eq!(counted(&[7, 8, 11, 12]), [0, 1, 4, 5]);
    }

    #[test]
    fn the_drivers_numbers_may_wrap_around() {
        assert_eq!(counted(&[u32::MAX - 1, u32::MAX, 1]), [0, 1, 3]);
    }

    #[test]
    fn numbers_that_stand_still_or_restart_count_arrivals() {
        assert_eq!(counted(&[0, 0, 0]), [0, 1, 2]);
        assert_eq!(counted(&[90, 91, 0, 1]), [0, 1, 2, 3]);
        assert_eq!(counted(&[5, 1_000_000, 1_000_001]), [0, 1, 2]);
    }
}

//! Frames through a loaded program without a network: `BPF_PROG_TEST_RUN`. For tests, and to measure.
#![allow(unsafe_code)] // aya has no call for it: the bpf system call itself

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

const BPF_PROG_TEST_RUN: libc::c_long = 10;
/// Room for the frame as the program leaves it; the program grows none.
const OUTPUT_LENGTH: usize = 16 << 10;

/// The `test` member of `union bpf_attr`, in full.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    program: u32,
    action: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_size_in: u32,
    context_size_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    padding: u32,
}

const _: () = assert!(size_of::<Attributes>() == 80);

/// What a program did with a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The XDP action that it returned.
    pub action: u32,
    /// The frame as it left it.
    pub frame: Vec<u8>,
    /// How long a run took, on average over the repetitions.
    pub duration_ns: u32,
}

/// Runs `program` on `frame` once, as received on queue 0.
///
/// # Errors
/// `InvalidInput` for a frame shorter than an Ethernet header; else what the system says.
pub(crate) fn run(program: BorrowedFd<'_>, frame: &[u8]) -> io::Result<Run> {
    repeat(program, frame, 1)
}

/// Runs `program` on `frame` so many times; each run finds the frame as the one before left it.
///
/// # Errors
/// As [`run`].
pub(crate) fn repeat(program: BorrowedFd<'_>, frame: &[u8], times: u32) -> io::Result<Run> {
    let mut output = vec![0u8; OUTPUT_LENGTH];
    let mut attributes = attributes(program, frame, times);
    attributes.data_size_out = OUTPUT_LENGTH as u32;
    attributes.data_out = output.as_mut_ptr() as u64;
    call(&mut attributes)?;
    output.truncate(attributes.data_size_out as usize);
    Ok(Run { action: attributes.action, frame: output, duration_ns: attributes.duration })
}

/// Nanoseconds of a tick of the kernel's clock.
pub(crate) fn tick_ns() -> u64 {
    let mut tick = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `tick` is a timespec of our own, which the call fills in.
    let result = unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut tick) };
    // 250 ticks a second, where the system does not say.
    if result < 0 { 4_000_000 } else { u64::try_from(tick.tv_nsec).unwrap_or(4_000_000) }
}

/// Attributes that point to `frame`, and to nothing else.
fn attributes(program: BorrowedFd<'_>, frame: &[u8], repeat: u32) -> Attributes {
    Attributes {
        program: u32::try_from(program.as_raw_fd()).expect("open descriptors are not negative"),
        data_size_in: u32::try_from(frame.len()).expect("a frame is short"),
        data_in: frame.as_ptr() as u64,
        repeat,
        ..Attributes::default()
    }
}

fn call(attributes: &mut Attributes) -> io::Result<()> {
    // SAFETY: the attributes are those of this command and of this size; their pointers are to the
    // callers' frame, which is read, and to their output, if any, which is written, within the
    // lengths beside them; both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_TEST_RUN,
            std::ptr::from_mut(attributes),
            size_of::<Attributes>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

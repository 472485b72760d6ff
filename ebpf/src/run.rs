//! One frame through a loaded program without a network: `BPF_PROG_TEST_RUN`.
#![allow(unsafe_code)] // aya has no call for it: the bpf system call itself

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

const BPF_PROG_TEST_RUN: libc::c_long = 10;
/// Room for the frame as the program leaves it; the program changes none, and grows none.
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

/// The action that `program` returns for `frame` on receive queue 0.
///
/// # Errors
/// `InvalidInput` for a frame shorter than an Ethernet header; else what the system says.
pub(crate) fn run(program: BorrowedFd<'_>, frame: &[u8]) -> io::Result<u32> {
    let mut output = vec![0u8; OUTPUT_LENGTH];
    let mut attributes = Attributes {
        program: u32::try_from(program.as_raw_fd()).expect("open descriptors are not negative"),
        data_size_in: u32::try_from(frame.len()).expect("a frame is short"),
        data_size_out: OUTPUT_LENGTH as u32,
        data_in: frame.as_ptr() as u64,
        data_out: output.as_mut_ptr() as u64,
        repeat: 1,
        ..Attributes::default()
    };
    // SAFETY: the attributes are those of this command and of this size; their pointers are to
    // `frame`, which is read, and to `output`, which is written, within the lengths beside them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_TEST_RUN,
            &raw mut attributes,
            size_of::<Attributes>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(attributes.action) }
}

//! The kernel's ticks, which the program can read for nothing, as time.

use std::os::fd::AsFd;

use aya::Ebpf;
use aya::maps::{Array, MapData};
use aya::programs::{ProgramFd, Xdp};

use crate::error::{Error, map_error};
use crate::load::take;
use crate::run;

const PROGRAM: &str = "moment";
/// A frame of the shortest length that a program can be run on; this one does not look at it.
const FRAME: [u8; 14] = [0; 14];

/// One moment by two clocks: `struct weir_moment`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    jiffies: u64,
    ns: u64,
    tick_ns: u64,
}

impl Moment {
    /// When it was, in nanoseconds of `CLOCK_MONOTONIC`, that the lower half of the ticks' number stood
    /// so; right for what is less than 2^31 ticks (24 days at the least) ago.
    pub(crate) fn ns_at(self, lower: u32) -> u64 {
        let now = u32::try_from(self.jiffies & u64::from(u32::MAX)).expect("32 bits");
        let age = now.wrapping_sub(lower);
        // It may have come in after this moment was read.
        let age = if age > i32::MAX as u32 { 0 } else { age };
        self.ns.saturating_sub(u64::from(age) * self.tick_ns)
    }
}

/// The program that reads both clocks.
pub(crate) struct Clock {
    program: ProgramFd,
    moments: Array<MapData, [u64; 2]>,
    tick_ns: u64,
}

impl Clock {
    pub(crate) fn new(ebpf: &mut Ebpf) -> Result<Self, Error> {
        let moments = take(ebpf, "moments")?;
        let program = ebpf.program_mut(PROGRAM).ok_or(Error::Object("no program moment"))?;
        let program: &mut Xdp =
            program.try_into().map_err(|_| Error::Object("moment is no XDP program"))?;
        let load = |error: aya::programs::ProgramError| Error::Load(Box::new(error.into()));
        program.load().map_err(load)?;
        let program = program.fd().map_err(load)?.try_clone().map_err(Error::Clock)?;
        Ok(Clock { program, moments, tick_ns: run::tick_ns() })
    }

    /// This moment.
    pub(crate) fn now(&self) -> Result<Moment, Error> {
        run::run(self.program.as_fd(), &FRAME).map_err(Error::Clock)?;
        let [jiffies, ns] = self.moments.get(&0, 0).map_err(map_error("clock"))?;
        Ok(Moment { jiffies, ns, tick_ns: self.tick_ns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_told_across_the_wrap_of_their_lower_half() {
        let moment = Moment { jiffies: (7 << 32) | 5, ns: 1_000_000, tick_ns: 1000 };
        assert_eq!(moment.ns_at(5), 1_000_000);
        assert_eq!(moment.ns_at(2), 997_000);
        assert_eq!(moment.ns_at(u32::MAX), 994_000);
        assert_eq!(moment.ns_at(6), 1_000_000);
    }
}

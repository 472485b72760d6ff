//! Packets that could not be sent, kept until the next flush reports them.

use std::io;

use super::Tag;

/// Failures since the last report; at most one a datagram, however many of its fragments failed.
#[derive(Debug, Default)]
pub(super) struct Failures {
    waiting: Vec<(Tag, io::Error)>,
    last_datagram: Option<u64>,
}

impl Failures {
    /// Notes that a packet of the caller's `datagram`th datagram could not be sent.
    pub(super) fn add(&mut self, datagram: u64, tag: Tag, error: io::Error) {
        if self.last_datagram != Some(datagram) {
            self.last_datagram = Some(datagram);
            self.waiting.push((tag, error));
        }
    }

    pub(super) fn report(&mut self, failed: &mut dyn FnMut(Tag, io::Error)) {
        for (tag, error) in self.waiting.drain(..) {
            failed(tag, error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Purpose;

    #[test]
    fn fragments_of_one_datagram_fail_once() {
        let mut failures = Failures::default();
        let tag = Tag {
            slave: 1,
            records: 2,
            options: 3,
            templates: 0,
            session: 0,
            purpose: Purpose::Message,
        };
        for datagram in [7, 7, 7, 8] {
            failures.add(datagram, tag, io::ErrorKind::Other.into());
        }
        let mut reported = 0;
        failures.report(&mut |_, _| reported += 1);
        assert_eq!(reported, 2);
        failures.report(&mut |_, _| panic!("reported twice"));
    }
}

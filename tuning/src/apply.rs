//! Makes the changes of a plan, one by one; what one device refuses does not keep the others.

use crate::plan::{Change, Setting};
use crate::{Error, ethtool};

/// What became of a change.
#[derive(Debug)]
pub struct Outcome {
    /// The change.
    pub change: Change,
    /// Whether it was made.
    pub result: Result<(), Error>,
}

/// Makes `changes` in order.
pub fn apply_all(changes: &[Change]) -> Vec<Outcome> {
    changes.iter().map(|change| Outcome { change: change.clone(), result: apply(change) }).collect()
}

/// Undoes those changes that were made, the last first.
pub fn revert_all(outcomes: &[Outcome]) -> Vec<Outcome> {
    let made = outcomes.iter().rev().filter(|outcome| outcome.result.is_ok());
    made.map(|outcome| outcome.change.reversed())
        .map(|change| Outcome { result: apply(&change), change })
        .collect()
}

/// Makes one change.
///
/// # Errors
/// [`Error::File`] or [`Error::Device`] with what the system says: mostly that it takes root, or
/// that the device has no such setting.
pub fn apply(change: &Change) -> Result<(), Error> {
    match &change.setting {
        Setting::ReceiveBufferMax => write("/proc/sys/net/core/rmem_max", change.to),
        Setting::HugePages => {
            write("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", change.to)
        }
        Setting::ReversePath(device) => {
            write(&format!("/proc/sys/net/ipv4/conf/{device}/rp_filter"), change.to)
        }
        Setting::TxChecksum(device) => ethtool::set_tx_checksum(device, change.to != 0)
            .map_err(|error| refused(device, "tx checksum offload", error)),
        Setting::Channels(device) => {
            let count = u32::try_from(change.to).unwrap_or(u32::MAX);
            ethtool::set_channels(device, count).map_err(|error| refused(device, "channels", error))
        }
    }
}

fn write(path: &str, value: u64) -> Result<(), Error> {
    std::fs::write(path, value.to_string())
        .map_err(|error| Error::File { path: path.to_owned(), error })
}

fn refused(device: &str, setting: &'static str, error: std::io::Error) -> Error {
    Error::Device { device: device.to_owned(), setting, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_not_there_is_reported_and_the_rest_goes_on() {
        let change = |setting| Change { setting, from: 0, to: 1, reason: "a test" };
        let outcomes = apply_all(&[
            change(Setting::TxChecksum("weir-none".to_owned())),
            change(Setting::ReversePath("weir-none".to_owned())),
        ]);
        assert_eq!(outcomes.len(), 2);
        for outcome in &outcomes {
            let error = outcome.result.as_ref().unwrap_err().to_string();
            assert!(error.contains("weir-none"), "{error}");
        }
        assert!(revert_all(&outcomes).is_empty());
    }
}

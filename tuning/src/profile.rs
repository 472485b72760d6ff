//! What is wanted of a host: a TOML file. What it does not mention stays as it is.

use serde::Deserialize;

use crate::Error;

const DEFAULT: &str = include_str!("../profiles/default.toml");
const LAB: &str = include_str!("../profiles/lab.toml");

/// A profile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// At least this for `net.core.rmem_max`, in bytes.
    pub receive_buffer_max_bytes: Option<u64>,
    /// At least this many free huge pages of 2 MiB, for AF_XDP frames.
    pub huge_pages_free: Option<u64>,
    /// What is wanted of each network device that weir uses.
    #[serde(default)]
    pub device: DeviceProfile,
}

/// What is wanted of a network device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceProfile {
    /// No strict reverse-path filtering (RFC 3704, Section 2.2), which drops packets whose source is
    /// reached by another way.
    #[serde(default)]
    pub loose_reverse_path: bool,
    /// Whether the device computes the checksums of what it sends.
    pub tx_checksum_offload: Option<bool>,
    /// Receive and transmit queues.
    pub channels: Option<u32>,
}

impl Profile {
    /// A built-in profile: `default` or `lab`.
    ///
    /// # Errors
    /// [`Error::UnknownProfile`].
    pub fn named(name: &str) -> Result<Self, Error> {
        match name {
            "default" => Self::parse(name, DEFAULT),
            "lab" => Self::parse(name, LAB),
            _ => Err(Error::UnknownProfile(name.to_owned())),
        }
    }

    /// Reads a profile's text; `name` is for errors.
    ///
    /// # Errors
    /// [`Error::Profile`], with line and column.
    pub fn parse(name: &str, text: &str) -> Result<Self, Error> {
        toml::from_str(text)
            .map_err(|error| Error::Profile { name: name.to_owned(), error: Box::new(error) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_profiles_are_well_formed() {
        let default = Profile::named("default").unwrap();
        assert_eq!(default.receive_buffer_max_bytes, Some(32 << 20));
        assert_eq!(default.device.tx_checksum_offload, None);
        let lab = Profile::named("lab").unwrap();
        assert_eq!(lab.device.tx_checksum_offload, Some(false));
        assert!(Profile::named("other").is_err());
    }

    #[test]
    fn a_key_that_no_profile_knows_is_an_error() {
        let error = Profile::parse("mine", "[device]\nchanels = 2\n").unwrap_err();
        assert!(error.to_string().contains("chanels"), "{error}");
    }

    #[test]
    fn an_empty_profile_wants_nothing() {
        assert_eq!(Profile::parse("mine", "").unwrap(), Profile::default());
    }
}

//! What weir wants of its host's settings, what they are, and how they get there.
//!
//! A [`Profile`] says what is wanted, a [`Probe`] what is; [`plan::plan`] compares both, purely, and
//! gives a list of changes with reasons; [`apply`] makes them, one by one, and can undo them. Nothing
//! is ever changed without being in a plan, and nothing that is already good enough is touched.
//!
//! There is no boot loader, interrupt or cpu setting here.

pub mod apply;
mod ethtool;
pub mod plan;
pub mod probe;
pub mod profile;

pub use apply::Outcome;
pub use ethtool::Channels;
pub use plan::{Change, Plan, Setting};
pub use probe::Probe;
pub use profile::Profile;

/// What failed while settings were read or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A profile is no TOML, or says what no profile may say.
    #[error("profile {name}: {error}")]
    Profile {
        /// The profile's name or path.
        name: String,
        /// What is wrong, with line and column.
        error: Box<toml::de::Error>,
    },
    /// There is no built-in profile of this name.
    #[error("there is no profile {0}; there are default and lab")]
    UnknownProfile(String),
    /// A file of settings could not be read or written.
    #[error("{path}: {error}")]
    File {
        /// Its path.
        path: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// A device refused a setting.
    #[error("{device}, {setting}: {error}")]
    Device {
        /// Its name.
        device: String,
        /// Which setting.
        setting: &'static str,
        /// What the system says.
        error: std::io::Error,
    },
}

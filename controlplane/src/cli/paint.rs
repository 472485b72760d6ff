//! Colours: only on a terminal, and not with `NO_COLOR` (https://no-color.org).

use std::io::IsTerminal;

/// Whether stdout takes colours.
#[derive(Clone, Copy, Debug)]
pub struct Paint(bool);

impl Paint {
    /// As stdout and the environment have it.
    pub fn for_stdout() -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Paint(std::io::stdout().is_terminal() && !plain)
    }

    /// No colours.
    pub fn none() -> Self {
        Paint(false)
    }

    /// Whether there are any.
    pub fn is_on(self) -> bool {
        self.0
    }

    /// Something that needs a look.
    pub fn bad(self, text: &str) -> String {
        self.wrap("1;31", text)
    }

    /// Something that one may want to know of.
    pub fn warning(self, text: &str) -> String {
        self.wrap("33", text)
    }

    /// Something that is as it should be.
    pub fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }

    /// A heading.
    pub fn head(self, text: &str) -> String {
        self.wrap("1", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

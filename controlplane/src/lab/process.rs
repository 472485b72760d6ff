//! A process of the lab: started at a site, watched through its files, gone with its handle.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use super::{Error, tool, wait_for};

/// How long a process may take to become ready or to end, seconds. Generous: the machine may be
/// busy, and nothing waits longer than it must.
const PATIENCE_S: u64 = 60;

/// Whether a process of this id runs.
pub(super) fn is_running(id: u32) -> bool {
    Path::new("/proc").join(id.to_string()).exists()
}

/// A running process; killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    output: PathBuf,
    log: PathBuf,
}

impl Process {
    /// Starts it with stdout and stderr in files of `folder`.
    ///
    /// It is killed when the calling thread ends, even when that is killed itself.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(name: &str, command: &mut Command, folder: &Path) -> Result<Process, Error> {
        let (output, log) =
            (folder.join(format!("{name}.out")), folder.join(format!("{name}.log")));
        let open = |path: &Path| {
            let file = File::options().create(true).append(true).open(path);
            file.map_err(|reason| Error::File { path: path.display().to_string(), reason })
        };
        // A restarted process must not be found ready by what its predecessor wrote.
        let _ = std::fs::remove_file(&output);
        command.stdin(Stdio::null()).stdout(open(&output)?).stderr(open(&log)?);
        // Ctrl-C on the terminal is the lab's to handle, in its own order.
        std::os::unix::process::CommandExt::process_group(command, 0);
        let child = command.spawn().map_err(|error| Error::Tool {
            command: tool::typed(command),
            reason: error.to_string(),
        })?;
        Ok(Process { name: name.into(), child, output, log })
    }

    /// Waits until it has written a line that begins with `ready`.
    ///
    /// # Errors
    /// When it ends before, or takes too long; with its log.
    pub fn wait_ready(&mut self) -> Result<(), Error> {
        let waited = wait_for("ready", PATIENCE_S, || {
            if self.output().lines().any(|line| line.starts_with("ready")) {
                return Ok(Some(()));
            }
            match self.child.try_wait() {
                Ok(Some(status)) => {
                    Err(self.failed(format!("ended ({status}) before it was ready")))
                }
                _ => Ok(None),
            }
        });
        match waited {
            Err(Error::Timeout { seconds, .. }) => {
                Err(self.failed(format!("was not ready within {seconds} s")))
            }
            other => other,
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it takes longer than `seconds`.
    pub fn wait_end(&mut self, seconds: u64) -> Result<ExitStatus, Error> {
        let what = format!("the end of {}", self.name);
        wait_for(&what, seconds, || Ok(self.child.try_wait().ok().flatten()))
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    ///
    /// # Errors
    /// When it does not.
    pub fn stop(&mut self) -> Result<ExitStatus, Error> {
        self.signal("TERM")?;
        self.wait_end(PATIENCE_S)
    }

    /// Kills it (SIGKILL), as a crash would.
    pub fn kill(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal by name.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn signal(&self, signal: &str) -> Result<(), Error> {
        let line = format!("kill -{signal} {}", self.child.id());
        tool::run(Command::new("sh").args(["-c", &line])).map(drop)
    }

    /// Its name in the lab.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to stdout so far.
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// What it has written to stderr so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The end of what it has written to stderr.
    pub fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// The error of this process, with its log.
    pub fn failed(&self, what: String) -> Error {
        Error::Process { name: self.name.clone(), what, log: self.log_end() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> (tempfile::TempDir, Process) {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let process = Process::start("p", &mut command, folder.path()).unwrap();
        (folder, process)
    }

    #[test]
    fn a_process_is_ready_when_it_says_so() {
        let (_folder, mut process) = shell("echo ready: p; exec sleep 60");
        process.wait_ready().unwrap();
        assert!(process.is_alive());
    }

    #[test]
    fn a_process_that_ends_early_is_reported_with_its_log() {
        let (_folder, mut process) = shell("echo no such thing >&2; exit 1");
        let error = process.wait_ready().unwrap_err().to_string();
        assert!(
            error.contains("no such thing") && error.contains("before it was ready"),
            "{error}"
        );
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let (_folder, process) = shell("exec sleep 60");
        let id = process.id();
        drop(process);
        assert!(!is_running(id));
    }
}

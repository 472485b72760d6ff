//! How the control plane speaks to the packet path: letters to a worker, its report, its end.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use weir_dataplane::mediate::SessionReport;
use weir_dataplane::worker::WorkerHandle;

use crate::error::Error;
use crate::status::Session;

/// How often a worker's report and its end are looked for.
const LOOK: Duration = Duration::from_millis(5);

/// How long a report may take: a worker reads its mail once a burst.
const REPORT_DEADLINE: Duration = Duration::from_millis(500);

/// UDP socket buffer that a unit asks the system for, bytes.
pub const SOCKET_BUFFER_BYTES: usize = 32 << 20;

/// Puts a letter into a worker's mailbox, waiting for room; false when the worker is gone.
pub async fn post<Mail>(mailbox: &Sender<Mail>, mut letter: Mail) -> bool {
    loop {
        match mailbox.try_send(letter) {
            Ok(()) => return true,
            Err(TrySendError::Disconnected(_)) => return false,
            Err(TrySendError::Full(back)) => letter = back,
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Asks a worker for a report; `None` when it does not answer in time.
pub async fn report<Mail, Report>(
    mailbox: &Sender<Mail>,
    letter: impl FnOnce(Sender<Report>) -> Mail,
) -> Option<Report> {
    let (to, report) = bounded(1);
    mailbox.try_send(letter(to)).ok()?;
    tokio::time::timeout(REPORT_DEADLINE, receive(&report)).await.ok()?
}

async fn receive<Report>(report: &Receiver<Report>) -> Option<Report> {
    loop {
        match report.try_recv() {
            Ok(report) => return Some(report),
            Err(error) if error.is_disconnected() => return None,
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
}

/// A transport session as `weir status` shows it.
pub fn session(report: &SessionReport) -> Session {
    Session {
        exporter: report.key.source.to_string(),
        port: report.key.port,
        protocol: report.key.protocol.name().to_owned(),
        transport: report.key.transport.name().to_owned(),
        domain: report.key.domain,
        datagrams: report.datagrams,
        records: report.records,
        lost: report.lost,
        resets: report.resets,
        templates: u32::try_from(report.templates).unwrap_or(u32::MAX),
        last_seen_ms: report.last_seen.0,
    }
}

/// Waits for the end of a worker, which no worker reaches by itself unless something broke.
pub async fn ended<Mail>(worker: &WorkerHandle<Mail>) {
    while !worker.is_finished() {
        tokio::time::sleep(LOOK * 20).await;
    }
}

/// Ends a worker in good order.
///
/// # Errors
/// Why it had ended before.
pub fn stop<Mail>(worker: WorkerHandle<Mail>, letter: Mail) -> Result<(), Error> {
    // A worker that is gone needs no letter.
    let _ = worker.mailbox.send(letter);
    worker.join().map_err(|source| Error::Start { what: "the packet path again", source })
}

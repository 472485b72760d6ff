//! What a proxy hears while it runs: news of the workers, next hops, templates to keep.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use weir_dataplane::Discard;
use weir_dataplane::io::NextHop;
use weir_dataplane::news::News;
use weir_dataplane::worker::{ProxyMail, REMEMBERED_MAX};

use super::Proxy;
use crate::journal::Writer;
use crate::neighbour;
use crate::packet_path;
use crate::workers::Workers;

/// Between two looks at the news.
const LISTEN_EVERY: Duration = Duration::from_millis(100);

/// News told in the log of one second; of more, their number is told. Anybody can make up sources.
const TOLD_A_SECOND: usize = 20;

/// Between two rounds of what has to be done now and then.
const SECOND: Duration = Duration::from_secs(1);

/// Letters for more of what has changed in one round, for each worker.
const REMEMBER_ROUNDS: usize = 8;

impl neighbour::Told for Proxy {
    fn addresses(&self) -> BTreeSet<IpAddr> {
        let slaves = self.slaves.addresses();
        let group = self.slaves.group();
        let copies = group.gates.iter().flat_map(|gate| &gate.copies).map(|copy| copy.to.ip());
        slaves.into_iter().chain(copies).filter(|&address| self.takes(address)).collect()
    }

    fn hop(&self, to: IpAddr, hop: Option<NextHop>) {
        self.workers.tell(|| ProxyMail::NextHop { to, hop });
    }

    fn against(&self, to: IpAddr, against: Option<String>) {
        if !self.slaves.note_way(self, to, against.as_ref())
            && let Some(reason) = against
        {
            tracing::warn!(%to, %reason, "copies do not arrive");
        }
    }
}

/// Tells the news in the log, and the kernel what it should do with a source.
pub(super) async fn hear(proxy: Rc<Proxy>, news: Receiver<News>) {
    let mut told = 0;
    let mut untold = 0_u64;
    let mut second = tokio::time::Instant::now();
    loop {
        tokio::time::sleep(LISTEN_EVERY).await;
        if second.elapsed() >= SECOND {
            if untold > 0 {
                tracing::info!(more = untold, "further new sources and refused datagrams");
            }
            (told, untold, second) = (0, 0, tokio::time::Instant::now());
        }
        // As many as there can be at once, so that a flood of them holds nobody up.
        for news in news.try_iter().take(super::NEWS) {
            if let Some(kernel) = &proxy.kernel {
                kernel.hear(&news);
            }
            if told < TOLD_A_SECOND {
                told += 1;
                tell(&news);
            } else {
                untold += 1;
            }
        }
    }
}

fn tell(news: &News) {
    match news {
        News::Source { source, port } => tracing::info!(%source, port, "new flow source"),
        News::Refused { source, port, reason } => {
            let reason = Discard::meaning(*reason);
            tracing::warn!(%source, port, reason, "datagram refused; one of many");
        }
    }
}

/// Has the journal keep what has changed in the workers, every second.
pub(super) async fn remember(workers: Rc<Workers>, journal: Rc<Writer>) {
    loop {
        tokio::time::sleep(SECOND).await;
        remember_all(&workers, &journal).await;
    }
}

/// Has the journal keep what has changed in the workers, as much as the disk keeps up with.
pub(super) async fn remember_all(workers: &Workers, journal: &Writer) {
    for mailbox in workers.mailboxes() {
        for _ in 0..REMEMBER_ROUNDS {
            if !journal.has_room() {
                break;
            }
            let asked = packet_path::report(&mailbox, ProxyMail::Remember);
            let Some(changed) = asked.await else { break };
            let many = changed.len();
            if many > 0 {
                journal.note(changed);
            }
            if many < REMEMBERED_MAX {
                break;
            }
        }
    }
}

/// Keeps the kernel's tables as they should be.
pub(super) async fn tend(proxy: Rc<Proxy>) {
    let mut round = 0_u64;
    loop {
        tokio::time::sleep(SECOND).await;
        if let Some(kernel) = &proxy.kernel {
            kernel.refresh();
            if round.is_multiple_of(60) {
                kernel.forget_idle().await;
            }
        }
        round += 1;
    }
}

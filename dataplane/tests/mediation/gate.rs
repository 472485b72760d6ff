//! What a gate lets in, and who gets copies.

use std::sync::Arc;

use weir_dataplane::Discard;
use weir_dataplane::configuration::Configuration;
use weir_dataplane::gate::{CopyTo, Gate, Prefix};
use weir_dataplane::io::Purpose;
use weir_dataplane::mediate::Distribution;
use weir_dataplane::news::News;

use crate::harness::*;

fn gated(gate: Gate) -> Proxy {
    let mut proxy = Proxy::new(Distribution::RoundRobin, 1);
    let configured = Arc::new(Configuration { gates: vec![gate], ..configuration(&[1]) });
    proxy.mediator.configure(&mut proxy.io, &configured, NOW);
    proxy
}

fn gate() -> Gate {
    Gate { port: PORT, allow: None, formats: 0xff, copies: Vec::new(), log_every: 0 }
}

#[test]
fn what_the_gate_refuses_is_counted_and_sampled() {
    let allow = Some(vec![Prefix { address: exporter(1).ip(), length: 32 }]);
    let mut proxy = gated(Gate { allow, formats: 2, log_every: 2, ..gate() });
    let v9 = message(Version::V9, 0, 0, true, 0..5);
    proxy.take(exporter(1), &v9);
    proxy.take(exporter(2), &v9);
    proxy.take(exporter(1), &message(Version::Ipfix, 0, 0, true, 0..5));
    proxy.deliver();
    assert_eq!(proxy.counters.discarded(Discard::SourceNotAllowed), 1);
    assert_eq!(proxy.counters.discarded(Discard::FormatNotAllowed), 1);
    assert_eq!(proxy.slaves[0].rows.rows(), 5);
    let told: Vec<_> =
        proxy.news.try_iter().filter(|n| matches!(n, News::Refused { .. })).collect();
    let reason = Discard::FormatNotAllowed;
    assert_eq!(told, [News::Refused { source: exporter(1), port: PORT, reason }]);
    proxy.assert_conserved();
}

#[test]
fn copies_go_out_as_they_came_in_and_their_failure_touches_nothing_else() {
    let copy =
        |text: &str, keep_source| CopyTo { to: text.parse().unwrap(), keep_source, mtu: 1400 };
    let copies = vec![
        copy("203.0.113.1:9995", true),
        copy("203.0.113.2:9995", false),
        copy("[2001:db8::1]:9995", true),
    ];
    let mut proxy = gated(Gate { copies, ..gate() });
    let payload = message(Version::V9, 0, 0, true, 0..5);
    proxy.watch.refuse("203.0.113.2:9995".parse().unwrap(), true);
    proxy.take(exporter(1), &payload);
    proxy.mediator.flush_all(&mut proxy.io);
    proxy.mediator.settle(&mut proxy.io);
    let sent = proxy.watch.take();
    let copies: Vec<_> = sent.iter().filter(|sent| sent.tag.purpose == Purpose::Copy).collect();
    assert_eq!(copies.len(), 1);
    assert_eq!((copies[0].source, &copies[0].payload), (exporter(1), &payload));
    assert_eq!(proxy.counters.copies_sent.get(), 1);
    assert_eq!(proxy.counters.copies_failed.get(), 2);
    assert_eq!(proxy.counters.records_delivered.get(), 5);
    proxy.assert_conserved();
}

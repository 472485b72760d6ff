//! RFC 7011, Sections 3.4.2 and 4: options, and what exporters report of themselves by them.

use weir_dataplane::Discard;
use weir_dataplane::mediate::Distribution;

use crate::harness::{Proxy, exporter};
use crate::lab::*;

/// What an options record of four-byte values ends in: counted as options data, no flow, and under
/// round robin told to every slave.
fn hold_options(scopes: u16, fields: &[u16]) {
    let specifiers: Vec<_> = fields.iter().map(|&element| (element, 4)).collect();
    let sets = [
        options_template(300, scopes, &specifiers),
        template(256, &[(1, 4)]),
        set(300, &vec![1; 8 * fields.len()]),
        set(256, &[0, 0, 0, 7]),
    ];
    let payload = message(0, &sets);
    let mut lab = Lab::new();
    lab.send(&payload);
    assert_eq!(lab.counters.options_decoded.get(), 2, "{fields:?}");
    assert_eq!(bytes(&lab.rows()), [7], "{fields:?}");
    let mut proxy = Proxy::new(Distribution::RoundRobin, 3);
    proxy.take(exporter(1), &payload);
    proxy.deliver();
    for slave in &proxy.slaves {
        // The newest of a scope is told; both have the same one here.
        assert!(slave.counters.options_decoded.get() >= 1, "{fields:?}");
        assert_eq!(slave.counters.discarded(Discard::UnknownTemplate), 0);
    }
}

/// Section 3.4.2.1: the scopes that a Collecting Process should support at least.
#[test]
fn every_scope_is_taken() {
    // observationDomainId, exportingProcessId, meteringProcessId, templateId, lineCardId,
    // exporterIPv4Address, ingressInterface; and several at once.
    for scope in [149, 144, 143, 145, 141, 130, 10] {
        hold_options(1, &[scope, 41]);
    }
    hold_options(3, &[144, 143, 10, 41, 42]);
}

/// Section 3.4.2.2: the scope count must not be zero, and not more than all fields.
#[test]
fn an_options_template_without_a_scope_is_malformed() {
    let mut lab = Lab::new();
    lab.send(&message(0, &[options_template(300, 0, &[(149, 4), (41, 4)])]));
    lab.send(&message(0, &[options_template(301, 3, &[(149, 4), (41, 4)])]));
    assert_eq!(lab.discarded(Discard::TemplateMalformed), 2);
    assert_eq!(lab.counters.templates_received.get(), 0);
}

/// Section 3.4.2.2: what an options template is shows in its set, not in its id.
#[test]
fn an_id_can_be_a_templates_and_then_an_options_templates() {
    let mut lab = Lab::new();
    lab.send(&message(0, &[template(256, &[(1, 4)]), set(256, &[0, 0, 0, 7])]));
    lab.send(&message(1, &[options_template(256, 1, &[(149, 4)]), set(256, &[0, 0, 0, 9])]));
    assert_eq!(bytes(&lab.rows()), [7]);
    assert_eq!(lab.counters.options_decoded.get(), 1);
}

/// Section 4.1: of the metering process, exported messages, flows and octets.
#[test]
fn metering_process_statistics_are_options_data() {
    hold_options(1, &[149, 40, 41, 42]);
    hold_options(2, &[149, 143, 40, 41, 42]);
}

/// Section 4.2: what the metering process did not see, and since when.
#[test]
fn metering_process_reliability_statistics_are_options_data() {
    hold_options(1, &[149, 164, 165, 150, 151]);
    hold_options(2, &[149, 143, 164, 165, 150, 151]);
}

/// Section 4.3: what the exporting process did not send.
#[test]
fn exporting_process_reliability_statistics_are_options_data() {
    hold_options(1, &[130, 166, 167, 168, 150, 151]);
    hold_options(1, &[144, 166, 167, 168, 150, 151]);
}

/// Section 4.4: which elements of a template are the flow key.
#[test]
fn flow_keys_are_options_data() {
    hold_options(1, &[145, 173]);
}

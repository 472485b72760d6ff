//! RFC 7011, Section 8: templates and their management.

use weir_dataplane::connection::Verdict;
use weir_dataplane::mediate::Distribution;
use weir_dataplane::{Discard, Timestamp};

use crate::harness::{NOW as HARNESS_NOW, Proxy, exporter};
use crate::lab::*;

const BYTES: (u16, u16) = (1, 4);
const PACKETS: (u16, u16) = (2, 4);

/// Section 8: a template holds for the rest of its session, in other messages than its own.
#[test]
fn a_template_holds_for_its_session() {
    let data = |sequence| message(sequence, &[set(256, &[0, 0, 0, 7])]);
    let payloads = [message(0, &[template(256, &[BYTES])]), data(0), data(1), data(2)];
    assert_eq!(bytes(&read(&payloads)), [7, 7, 7]);
}

/// Section 8: templates of one session must not be used in the next.
#[test]
fn templates_end_with_their_connection() {
    let mut lab = Lab::new();
    let (first, second) = (connection(), connection());
    lab.hear(&first, &message(0, &[template(256, &[BYTES]), set(256, &[0, 0, 0, 7])]));
    lab.collector.end(&first);
    lab.hear(&second, &message(0, &[set(256, &[0, 0, 0, 9])]));
    assert_eq!(bytes(&lab.rows()), [7]);
    lab.collector.end(&second);
    assert_eq!(lab.discarded(Discard::UnknownTemplate), 1);
    assert_eq!(lab.sessions(), 0);
}

/// Section 8: the same element more than once in a template, each with its own value.
#[test]
fn identical_elements_each_have_their_octets() {
    // Of two nested headers the outer one's length is first: all octets have their place, and what
    // follows is read from its own.
    let fields = [BYTES, (8, 4), BYTES, (8, 4), PACKETS];
    let record = [[0, 0, 0, 9], [192, 0, 2, 1], [0, 0, 0, 5], [192, 0, 2, 2], [0, 0, 0, 3]];
    let rows = row(&fields, &record.concat());
    assert_eq!(packets(&rows), [3]);
    assert!(["192.0.2.1", "192.0.2.2"].contains(&rows.source_address[0].to_string().as_str()));
}

/// Section 8: data that comes before its template may be buffered, and is read with it.
#[test]
fn data_before_its_template_is_held() {
    let payloads = [message(0, &[set(256, &[0, 0, 0, 7])]), message(1, &[template(256, &[BYTES])])];
    assert_eq!(bytes(&read(&payloads)), [7]);
}

/// Section 8: other domains use the same ids for other templates.
#[test]
fn the_same_id_means_another_template_in_another_domain() {
    let payloads = [
        in_domain(1, 0, &[template(256, &[BYTES])]),
        in_domain(2, 0, &[template(256, &[PACKETS])]),
        in_domain(1, 0, &[set(256, &[0, 0, 0, 1])]),
        in_domain(2, 0, &[set(256, &[0, 0, 0, 2])]),
    ];
    let rows = read(&payloads);
    let mut both: Vec<_> = bytes(&rows).into_iter().zip(packets(&rows)).collect();
    both.sort_unstable();
    assert_eq!(both, [(0, 2), (1, 0)]);
}

/// Section 8.1: after a withdrawal the template is not used any more, and its id is free.
#[test]
fn a_withdrawn_template_is_used_no_more() {
    let mut lab = Lab::new();
    let connection = connection();
    lab.hear(&connection, &message(0, &[template(256, &[BYTES]), template(257, &[BYTES])]));
    lab.hear(&connection, &message(0, &[withdrawal(2, 256), set(257, &[0, 0, 0, 1])]));
    lab.hear(&connection, &message(1, &[template(256, &[PACKETS]), set(256, &[0, 0, 0, 2])]));
    let rows = lab.rows();
    assert_eq!((bytes(&rows), packets(&rows)), (vec![1, 0], vec![0, 2]));
    assert_eq!(misuses(&connection), 0);
}

/// Section 8.1: id 2 withdraws all templates, id 3 all options templates.
#[test]
fn all_templates_of_a_kind_are_withdrawn_at_once() {
    let mut lab = Lab::new();
    let connection = connection();
    let templates = [template(256, &[BYTES]), options_template(257, 1, &[(149, 4), (41, 4)])];
    lab.hear(&connection, &message(0, &templates));
    lab.hear(&connection, &message(0, &[withdrawal(2, 2), set(257, &[0; 8])]));
    assert_eq!(lab.counters.options_decoded.get(), 1);
    lab.hear(&connection, &message(1, &[withdrawal(3, 3), set(256, &[0; 4]), set(257, &[0; 8])]));
    assert_eq!(lab.counters.sets_held.get(), 2);
    assert!(lab.rows().is_empty());
}

fn misuses(connection: &weir_dataplane::connection::Connection) -> u64 {
    connection.misuses.load(std::sync::atomic::Ordering::Relaxed)
}

/// Section 8.1: a withdrawal of what is not there is ignored and told; records are read on.
#[test]
fn a_withdrawal_of_nothing_is_ignored_and_told() {
    let mut lab = Lab::new();
    let connection = connection();
    let sets = [withdrawal(2, 300), template(256, &[BYTES]), set(256, &[0, 0, 0, 7])];
    lab.hear(&connection, &message(0, &sets));
    assert_eq!(bytes(&lab.rows()), [7]);
    assert_eq!((misuses(&connection), connection.verdict()), (1, Verdict::Fine));
}

/// Section 8.1: another template for an id in use, without a withdrawal, is told; the newest holds.
#[test]
fn a_redefinition_by_connection_is_told() {
    let mut lab = Lab::new();
    let connection = connection();
    lab.hear(&connection, &message(0, &[template(256, &[BYTES]), template(256, &[BYTES])]));
    assert_eq!(misuses(&connection), 0, "the same once more is none");
    lab.hear(&connection, &message(0, &[template(256, &[PACKETS]), set(256, &[0, 0, 0, 2])]));
    assert_eq!(misuses(&connection), 1);
    assert_eq!(packets(&lab.rows()), [2]);
}

/// Section 8.2: a template holds from its place in the order of messages and sets on.
#[test]
fn an_id_that_changes_holds_for_what_follows_it() {
    let sets = [
        template(256, &[BYTES]),
        set(256, &[0, 0, 0, 1]),
        template(256, &[PACKETS]),
        set(256, &[0, 0, 0, 2]),
    ];
    let payloads = [message(0, &sets), message(2, &[set(256, &[0, 0, 0, 3])])];
    let rows = read(&payloads);
    let mut both: Vec<_> = bytes(&rows).into_iter().zip(packets(&rows)).collect();
    both.sort_unstable();
    assert_eq!(both, [(0, 2), (0, 3), (1, 0)]);
}

/// Section 8.4: a withdrawal by UDP must be ignored.
#[test]
fn a_withdrawal_by_udp_is_ignored() {
    for withdrawn in [withdrawal(2, 256), withdrawal(2, 2)] {
        let sets = [template(256, &[BYTES]), withdrawn, set(256, &[0, 0, 0, 7])];
        assert_eq!(bytes(&read(&[message(0, &sets)])), [7]);
    }
}

/// Section 8.4: by UDP a template is refreshed again and again, and another one replaces it.
#[test]
fn a_template_by_udp_is_refreshed_and_replaced() {
    let announce = |sequence, field| message(sequence, &[template(256, &[field])]);
    let data = |sequence| message(sequence, &[set(256, &[0, 0, 0, 7])]);
    let payloads =
        [announce(0, BYTES), data(0), announce(1, BYTES), data(1), announce(2, PACKETS), data(2)];
    let rows = read(&payloads);
    let mut both: Vec<_> = bytes(&rows).into_iter().zip(packets(&rows)).collect();
    both.sort_unstable();
    assert_eq!(both, [(0, 7), (7, 0), (7, 0)]);
}

/// Section 8.4: an exporting process must not send withdrawals by UDP, which a proxy's way to its
/// slaves is.
#[test]
fn a_proxy_sends_no_withdrawal() {
    for model in [Distribution::RoundRobin, Distribution::FlowSource] {
        let mut proxy = Proxy::new(model, 2);
        let connection = weir_dataplane::connection::Connection::new(
            exporter(1),
            ([198, 51, 100, 1], 2055).into(),
            weir_dataplane::session::Transport::Tcp,
        );
        let sets = [template(256, &[BYTES]), withdrawal(2, 256), withdrawal(2, 2)];
        proxy.mediator.message(&mut proxy.io, &connection, &message(0, &sets), HARNESS_NOW);
        proxy.mediator.flush_all(&mut proxy.io);
        proxy.mediator.settle(&mut proxy.io);
        for sent in proxy.watch.take() {
            // A header, a set's header, a template of one field, and nothing else.
            assert_eq!(sent.payload.len(), 16 + 4 + 8, "{model:?}");
        }
    }
}

/// Section 8.4 lets templates have a lifetime; here a session's end is theirs: one gives way when it has
/// been silent for long and its place is needed.
#[test]
fn templates_of_a_silent_session_give_way_when_there_is_need() {
    let limits = weir_dataplane::session::SessionLimits {
        sessions: 2,
        ..weir_dataplane::session::SessionLimits::default()
    };
    let counters = std::sync::Arc::new(weir_dataplane::Counters::default());
    let config = weir_dataplane::collect::CollectorConfig {
        sessions: limits,
        hold: weir_dataplane::hold::HoldLimits::default(),
        batch_rows: 16,
    };
    let mut collector = weir_dataplane::collect::Collector::new(config, counters);
    for domain in 0..9 {
        let payload = in_domain(domain, 0, &[template(256, &[BYTES])]);
        let destination = ([10, 0, 0, 1], 4739).into();
        let source = exporter(1);
        let datagram = weir_dataplane::io::Datagram { source, destination, payload: &payload };
        collector.datagram(&datagram, Timestamp(NOW.0 + u64::from(domain)));
    }
    assert_eq!(collector.sessions().len(), 2);
}

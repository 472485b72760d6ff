//! NetFlow v9 and IPFIX: sets, template records and data records, walked by the views and counted
//! against the collector.

use std::sync::Arc;

use weir_dataplane::budget::{Budget, Purse};
use weir_dataplane::template::TemplateStore;
use weir_dataplane::wire::set::{self, Set, SetKind, Sets, TemplateRecord, TemplateRecords};
use weir_dataplane::wire::{Message, Protocol, ipfix, netflow9};

use super::{collector, stream};

/// The body of IPFIX's target.
pub fn run_ipfix(input: &[u8]) {
    run(input, ipfix::VERSION);
}

/// The body of version 9's target.
pub fn run_netflow9(input: &[u8]) {
    run(input, netflow9::VERSION);
}

fn run(input: &[u8], version: u16) {
    let mut payload = input.to_vec();
    if let [high, low, ..] = &mut payload[..] {
        (*high, *low) = (0, version as u8);
    }
    if input.last().is_some_and(|last| last & 1 == 1) {
        stream::repair(&mut payload);
    }
    let message = Message::parse(&payload);
    let expected = match &message {
        Ok(Message::Netflow9(packet)) => {
            let mut header = packet.header().to_vec();
            netflow9::set_count(&mut header, packet.count());
            netflow9::set_sequence(&mut header, packet.sequence());
            assert_eq!(header, packet.header(), "what is read is what is written");
            records(Protocol::Netflow9, || packet.sets(), payload.len())
        }
        Ok(Message::Ipfix(message)) => {
            assert!(usize::from(message.length()) <= payload.len());
            let mut header = message.header().to_vec();
            ipfix::set_length(&mut header, message.length());
            ipfix::set_sequence(&mut header, message.sequence());
            assert_eq!(header, message.header(), "what is read is what is written");
            records(Protocol::Ipfix, || message.sets(), payload.len())
        }
        Ok(_) => unreachable!("the version was written"),
        Err(_) => Some([0; 2]),
    };
    let rows = collector::twice(&payload);
    if let Some(expected) = expected {
        assert_eq!(rows, expected, "the collector counts as the views do");
    }
}

/// Walks a message twice; the flow data records of each walk, or `None` when some had to wait for
/// their template.
fn records<'a>(
    protocol: Protocol,
    sets: impl Fn() -> Sets<'a>,
    length: usize,
) -> Option<[usize; 2]> {
    let (source, all) = (Budget::new(32 << 20), Budget::new(32 << 20));
    let purse = Purse::new(Arc::clone(&source), Arc::clone(&all));
    let mut store = TemplateStore::new(20_000, purse);
    let walks = [0; 2].map(|_: u8| walk(protocol, sets(), length, &mut store));
    drop(store);
    assert_eq!((source.left(), all.left()), (32 << 20, 32 << 20), "every byte is given back");
    match walks {
        [Some(first), Some(second)] => Some([first, second]),
        _ => None,
    }
}

fn walk(
    protocol: Protocol,
    sets: Sets<'_>,
    length: usize,
    store: &mut TemplateStore,
) -> Option<usize> {
    let mut count = Some(0);
    let mut bytes = 0;
    for set in sets {
        let Ok(set) = set else { break };
        bytes += set::HEADER_LENGTH + set.body.len();
        assert!(bytes <= length, "sets leave their message");
        match set.kind(protocol) {
            SetKind::Data => {
                let records = data(&set, store);
                count = count.zip(records).map(|(sum, records)| sum + records);
            }
            SetKind::Templates | SetKind::OptionsTemplates => templates(protocol, &set, store),
            SetKind::Reserved => {}
        }
    }
    count
}

/// The flow data records of a set; `None` without its template.
fn data(set: &Set<'_>, store: &TemplateStore) -> Option<usize> {
    let template = store.get(set.id)?;
    let mut records = 0;
    let mut bytes = 0;
    for record in template.records(set.body) {
        let Ok(record) = record else { break };
        records += 1;
        bytes += record.len();
        assert!(record.len() >= template.min_length);
        assert!(template.fixed_length.is_none_or(|length| length == record.len()));
        assert!(template.scope(record).len() <= record.len());
    }
    assert!(bytes <= set.body.len(), "records leave their set");
    Some(if template.options { 0 } else { records })
}

fn templates(protocol: Protocol, set: &Set<'_>, store: &mut TemplateStore) {
    let mut bytes = 0;
    for record in TemplateRecords::new(protocol, set) {
        let Ok(record) = record else { break };
        bytes += record.bytes.len();
        assert!(bytes <= set.body.len(), "template records leave their set");
        check(protocol, &record);
        if record.withdraws_all() {
            store.withdraw_all(record.options);
        } else if record.withdrawal {
            store.withdraw(record.id);
        } else if store.learn(protocol, &record).is_ok() {
            let known = store.get(record.id).expect("it was learned");
            assert_eq!((&*known.record, known.options), (record.bytes, record.options));
        } else {
            assert!(store.get(record.id).is_none(), "what is refused is not known");
        }
    }
}

/// What holds of every template record.
pub fn check(protocol: Protocol, record: &TemplateRecord<'_>) {
    let fields = record.fields().count();
    assert!(fields * 4 <= record.bytes.len(), "fields leave their record");
    assert!(usize::from(record.scope_count) <= fields, "the scope is a part of the fields");
    assert_eq!(record.withdrawal, fields == 0);
    if !record.withdrawal {
        assert!(record.id >= set::FIRST_DATA);
    }
    if protocol == Protocol::Netflow9 {
        assert!(!record.withdrawal && record.fields().all(|field| field.enterprise == 0));
    }
    // Read again from its own bytes it is the same.
    let id = set::templates_id(protocol, record.options);
    let again = TemplateRecords::new(protocol, &Set { id, body: record.bytes }).next();
    let again = again.expect("a record").expect("a good one");
    assert_eq!((again.id, again.bytes), (record.id, record.bytes));
    assert!(again.fields().eq(record.fields()));
}

//! The template store against a map that does the same without bounds or plans.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_dataplane::Discard;
use weir_dataplane::budget::{Budget, Purse};
use weir_dataplane::template::{Change, TemplateStore};
use weir_dataplane::wire::set::{Set, SetKind, Sets, TemplateRecord, TemplateRecords};
use weir_dataplane::wire::{Message, Protocol};

use super::stream::{self, Step};
use super::{sets, watch};

/// Templates that the store may hold.
const LIMIT: usize = 12;
/// Bytes of memory that they may take.
const ROOM: usize = 24 << 10;

/// The store, what it should hold, and what it pays from.
struct Lab {
    store: TemplateStore,
    /// Whether it is an options template, and its record, by id.
    model: BTreeMap<u16, (bool, Vec<u8>)>,
    source: Arc<Budget>,
    all: Arc<Budget>,
}

/// The target's body.
pub fn run(input: &[u8]) {
    let (source, all) = (Budget::new(ROOM), Budget::new(2 * ROOM));
    let store = TemplateStore::new(LIMIT, Purse::new(Arc::clone(&source), Arc::clone(&all)));
    let mut lab = Lab { store, model: BTreeMap::new(), source, all };
    for Step { event, payload, .. } in stream::steps(input) {
        match (event, &payload[..]) {
            (1, &[high, low, ..]) => lab.withdraw(u16::from_be_bytes([high, low])),
            (2 | 3, _) => lab.withdraw_all(event == 3),
            _ => {}
        }
        match Message::parse(&payload) {
            Ok(Message::Netflow9(packet)) => lab.sets(Protocol::Netflow9, packet.sets()),
            Ok(Message::Ipfix(message)) => lab.sets(Protocol::Ipfix, message.sets()),
            _ => {}
        }
        lab.check();
    }
    lab.withdraw_all(false);
    lab.withdraw_all(true);
    assert!(lab.store.is_empty());
    assert_eq!((lab.source.left(), lab.all.left()), (ROOM, 2 * ROOM), "every byte is given back");
}

impl Lab {
    fn sets(&mut self, protocol: Protocol, sets: Sets<'_>) {
        for set in sets {
            let Ok(set) = set else { break };
            match set.kind(protocol) {
                SetKind::Data => self.data(&set),
                SetKind::Templates | SetKind::OptionsTemplates => {
                    for record in TemplateRecords::new(protocol, &set) {
                        let Ok(record) = record else { break };
                        sets::check(protocol, &record);
                        self.take(protocol, &record);
                    }
                }
                SetKind::Reserved => {}
            }
        }
    }

    fn take(&mut self, protocol: Protocol, record: &TemplateRecord<'_>) {
        if record.withdraws_all() {
            return self.withdraw_all(record.options);
        }
        if record.withdrawal {
            return self.withdraw(record.id);
        }
        let new = (record.options, record.bytes.to_vec());
        let known = self.model.get(&record.id).cloned();
        let learned = watch::packet(|| self.store.learn(protocol, record));
        match learned {
            Ok(change) => {
                let expected = match &known {
                    None => Change::New,
                    Some(known) if *known == new => Change::Same,
                    Some(_) => Change::Changed,
                };
                assert_eq!(change, expected);
                self.model.insert(record.id, new);
            }
            Err(reason) => {
                assert_ne!(known, Some(new), "what is known is not refused");
                if reason == Discard::TemplateTableFull && self.all.left() >= ROOM {
                    assert!(self.store.len() >= LIMIT - usize::from(known.is_some()));
                }
                self.model.remove(&record.id);
            }
        }
    }

    fn withdraw(&mut self, id: u16) {
        assert_eq!(self.store.withdraw(id), self.model.remove(&id).is_some());
    }

    fn withdraw_all(&mut self, options: bool) {
        let before = self.model.len();
        self.model.retain(|_, (kind, _)| *kind != options);
        assert_eq!(self.store.withdraw_all(options), self.model.len() < before);
    }

    fn data(&self, set: &Set<'_>) {
        assert_eq!(self.store.get(set.id).is_some(), self.model.contains_key(&set.id));
        let Some(template) = self.store.get(set.id) else { return };
        let records = template.records(set.body);
        let bytes: usize = records.map_while(|record| record.ok().map(<[u8]>::len)).sum();
        assert!(bytes <= set.body.len(), "records leave their set");
    }

    /// The store holds what the map does.
    fn check(&self) {
        assert!(self.store.len() <= LIMIT);
        assert_eq!(self.store.len(), self.model.len());
        for template in self.store.iter() {
            let (options, record) = &self.model[&template.id];
            assert_eq!((template.options, &*template.record), (*options, &record[..]));
            assert!(template.min_length > 0, "a record has a length");
        }
        assert_eq!(ROOM - self.source.left(), 2 * ROOM - self.all.left(), "it is paid twice");
    }
}

//! What outlives a worker of its sessions: written as the exporter's own sets, and learned again
//! within the same bounds.

use super::{Inserted, Session, SessionId, SessionTable};
use crate::Timestamp;
use crate::remembered::{RecallError, Remembered};
use crate::wire::Protocol;
use crate::wire::set::{self, HEADER_LENGTH, Set, SetKind, Sets, TemplateRecords};

/// A set that is written here is closed when it is longer than this.
const SET_LENGTH: usize = 32 << 10;

impl<X> SessionTable<X> {
    /// The templates and options data of the session in this place. `header` is that of its newest
    /// message.
    pub fn remember(&self, id: SessionId, header: &[u8]) -> Option<Remembered> {
        let session = self.get(id)?;
        Some(Remembered {
            key: session.key,
            established: self.is_established(id),
            header: header.to_vec(),
            templates: session.write_templates(),
            options: session.write_options(),
        })
    }

    /// Makes a session again; `None` when it is there already, and newer, or when nothing of it was
    /// remembered.
    ///
    /// # Errors
    /// When it holds what no session can, or when there is no room for it; nothing is changed then.
    pub fn recall(
        &mut self,
        remembered: &Remembered,
        now: Timestamp,
        extra: X,
    ) -> Result<Option<Inserted<X>>, RecallError> {
        let protocol = remembered.key.protocol;
        check(protocol, &remembered.templates, false)?;
        check(protocol, &remembered.options, true)?;
        if remembered.templates.is_empty() || self.find(&remembered.key).is_some() {
            return Ok(None);
        }
        let inserted = self.insert(remembered.key, now, extra).map_err(|_| RecallError::NoRoom)?;
        // It has sent nothing to this worker yet, and what it has learned is to be weighed.
        let session = self.touch(inserted.id, now);
        session.datagrams = 0;
        session.read(&remembered.templates, &remembered.options);
        if remembered.established {
            self.establish(inserted.id.0, now);
        }
        Ok(Some(inserted))
    }
}

impl<X> Session<X> {
    fn write_templates(&self) -> Vec<u8> {
        let mut sets = Writer::default();
        for template in self.templates.iter() {
            let id = set::templates_id(self.key.protocol, template.options);
            sets.record(id, &template.record);
        }
        sets.finish()
    }

    fn write_options(&self) -> Vec<u8> {
        let mut sets = Writer::default();
        for (template, record) in self.options.iter() {
            sets.record(template, record);
        }
        sets.finish()
    }

    /// Learns what [`check`] has looked at; what finds no room is forgotten.
    fn read(&mut self, templates: &[u8], options: &[u8]) {
        for set in Sets::new(templates).flatten() {
            for record in TemplateRecords::new(self.key.protocol, &set).flatten() {
                let _no_room = self.take(&record);
            }
        }
        for set in Sets::new(options).flatten() {
            let Some(template) = self.templates.get(set.id).filter(|t| t.options) else { continue };
            for record in template.records(set.body).flatten() {
                self.options.note(template, record);
            }
        }
    }
}

/// Whether these are nothing but whole sets of templates, or of data.
fn check(protocol: Protocol, bytes: &[u8], data: bool) -> Result<(), RecallError> {
    let mut read = 0;
    for set in Sets::new(bytes) {
        let set = set.map_err(|_| RecallError::Contents)?;
        read += HEADER_LENGTH + set.body.len();
        let kind = set.kind(protocol);
        if (kind == SetKind::Data) != data || kind == SetKind::Reserved {
            return Err(RecallError::Contents);
        }
        if !data {
            check_templates(protocol, &set)?;
        }
    }
    if read == bytes.len() { Ok(()) } else { Err(RecallError::Contents) }
}

fn check_templates(protocol: Protocol, set: &Set<'_>) -> Result<(), RecallError> {
    let mut read = 0;
    for record in TemplateRecords::new(protocol, set) {
        let record = record.map_err(|_| RecallError::Contents)?;
        read += record.bytes.len();
        if record.withdrawal {
            return Err(RecallError::Contents);
        }
    }
    if read == set.body.len() { Ok(()) } else { Err(RecallError::Contents) }
}

/// Writes records into sets, those of one id that follow each other into one.
#[derive(Debug, Default)]
struct Writer {
    bytes: Vec<u8>,
    /// Where the open set begins, and its id.
    open: Option<(usize, u16)>,
}

impl Writer {
    fn record(&mut self, id: u16, record: &[u8]) {
        let fits = |(begin, open): (usize, u16)| {
            open == id && self.bytes.len() - begin + record.len() <= SET_LENGTH
        };
        if !self.open.is_some_and(fits) {
            self.close();
            self.open = Some((self.bytes.len(), id));
            self.bytes.extend([0; HEADER_LENGTH]);
        }
        self.bytes.extend(record);
    }

    fn close(&mut self) {
        if let Some((begin, id)) = self.open.take() {
            let length = self.bytes.len() - begin;
            let length = u16::try_from(length).expect("one record of a datagram and its header");
            set::write_header(&mut self.bytes[begin..], id, length);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.close();
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::session::{SessionKey, SessionLimits, Transport};
    use crate::wire::ipfix;

    const LIMITS: SessionLimits = SessionLimits {
        sessions: 4,
        sessions_per_source: 4,
        templates_per_session: 8,
        template_bytes: 1 << 20,
        template_bytes_per_source: 64 << 10,
        option_bytes: 1 << 20,
        option_bytes_per_source: 64 << 10,
        option_bytes_per_session: 16 << 10,
        established_datagrams: 2,
        established_ms: 0,
        idle_ms: 100,
    };

    fn key(protocol: Protocol) -> SessionKey {
        let source = "[2001:db8::1]:4739".parse().unwrap();
        SessionKey { source, port: 2055, protocol, domain: 9, transport: Transport::Udp }
    }

    fn set(id: u16, body: &[u8]) -> Vec<u8> {
        let mut set = vec![0; 4];
        set::write_header(&mut set, id, 4 + body.len() as u16);
        set.extend(body);
        set
    }

    /// A flow template, an options template and an options record.
    fn sets() -> [Vec<u8>; 2] {
        let flows = [1, 0, 0, 2, 0, 1, 0, 4, 0, 82, 255, 255];
        let options = [1, 1, 0, 2, 0, 1, 0, 149, 0, 4, 0, 41, 0, 2];
        let templates =
            [set(ipfix::SET_TEMPLATES, &flows), set(ipfix::SET_OPTIONS_TEMPLATES, &options)];
        [templates.concat(), set(257, &[0, 0, 0, 9, 0, 1, 0, 0, 0, 8, 0, 2])]
    }

    fn remembered(protocol: Protocol, [templates, options]: [Vec<u8>; 2]) -> Remembered {
        Remembered { key: key(protocol), established: true, header: vec![], templates, options }
    }

    #[test]
    fn what_is_recalled_is_remembered_again() {
        let mut table = SessionTable::new(LIMITS);
        let before = remembered(Protocol::Ipfix, sets());
        let inserted = table.recall(&before, Timestamp(5), ()).unwrap().unwrap();
        assert!(table.is_established(inserted.id));
        let session = table.get(inserted.id).unwrap();
        assert_eq!((session.templates.len(), session.options.len()), (2, 2));
        assert_eq!(session.datagrams, 0);
        assert_eq!(table.remember(inserted.id, &[]), Some(before));
    }

    #[test]
    fn what_is_there_already_is_newer() {
        let mut table = SessionTable::new(LIMITS);
        let id = table.insert(key(Protocol::Ipfix), Timestamp(0), ()).unwrap().id;
        let recalled = table.recall(&remembered(Protocol::Ipfix, sets()), Timestamp(0), ());
        assert!(recalled.unwrap().is_none());
        assert!(table.get(id).unwrap().templates.is_empty());
    }

    #[test]
    fn a_session_that_held_nothing_is_not_made_again() {
        let mut table = SessionTable::new(LIMITS);
        let nothing = remembered(Protocol::Netflow5, [vec![], vec![]]);
        assert!(table.recall(&nothing, Timestamp(0), ()).unwrap().is_none());
        assert!(table.is_empty());
    }

    #[test]
    fn a_full_table_recalls_nothing_more() {
        let mut table = SessionTable::new(LIMITS);
        let mut outcome = Ok(None);
        for domain in 0..5 {
            let mut one = remembered(Protocol::Ipfix, sets());
            one.key.domain = domain;
            outcome = table.recall(&one, Timestamp(0), ()).map(|inserted| inserted.map(|i| i.id));
        }
        assert_eq!(outcome, Err(RecallError::NoRoom));
        assert_eq!(table.len(), 4);
    }

    #[test]
    fn sets_that_no_session_holds_are_refused() {
        let [templates, options] = sets();
        let withdrawal = set(ipfix::SET_TEMPLATES, &[1, 0, 0, 0]);
        for wrong in [
            [options.clone(), vec![]],
            [templates.clone(), templates.clone()],
            [withdrawal, vec![]],
            [templates[..templates.len() - 1].to_vec(), vec![]],
            [[templates.clone(), vec![0]].concat(), vec![]],
            [set(7, &[]), vec![]],
        ] {
            let mut table = SessionTable::new(LIMITS);
            let recalled = table.recall(&remembered(Protocol::Ipfix, wrong), Timestamp(0), ());
            assert_eq!(recalled.unwrap_err(), RecallError::Contents);
            assert!(table.is_empty());
        }
    }

    /// Sets that are often well formed.
    fn noise() -> impl Strategy<Value = Vec<u8>> {
        let id = prop_oneof![Just(0u16), Just(1), Just(2), Just(3), 256u16..260];
        let record = (256u16..260, vec((any::<u16>(), 0u16..9), 0..6)).prop_map(|(id, fields)| {
            let mut record = [id, fields.len() as u16].map(u16::to_be_bytes).concat();
            for (element, length) in fields {
                record.extend([element, length].map(u16::to_be_bytes).concat());
            }
            record
        });
        let body = prop_oneof![record, vec(any::<u8>(), 0..50)];
        let sets = vec((id, body), 0..30)
            .prop_map(|sets| sets.iter().flat_map(|(id, body)| set(*id, body)).collect());
        prop_oneof![4 => sets, 1 => vec(any::<u8>(), 0..50)]
    }

    proptest! {
        #[test]
        fn whatever_is_recalled_keeps_its_bounds(
            all in vec((noise(), noise(), 0u32..9, any::<bool>()), 1..20),
            ipfix in any::<bool>(),
        ) {
            let mut table = SessionTable::new(LIMITS);
            let protocol = if ipfix { Protocol::Ipfix } else { Protocol::Netflow9 };
            for (templates, options, domain, established) in all {
                let mut one = remembered(protocol, [templates, options]);
                (one.key.domain, one.established) = (domain, established);
                let before = table.len();
                match table.recall(&one, Timestamp(0), ()) {
                    Ok(Some(inserted)) => {
                        let again = table.remember(inserted.id, &[]).unwrap();
                        prop_assert!(check(protocol, &again.templates, false).is_ok());
                        prop_assert!(check(protocol, &again.options, true).is_ok());
                    }
                    _ => prop_assert_eq!(table.len(), before),
                }
            }
            prop_assert!(table.len() <= 4);
            let paid: usize = table.iter().map(|(_, s)| s.templates.memory()).sum();
            prop_assert!(paid <= LIMITS.template_bytes_per_source);
            prop_assert!(table.iter().all(|(_, s)| s.templates.len() <= 8));
        }
    }
}

//! What a datagram says, for people: its message, sets, templates, records and fields, each with the
//! octets that it was read from, and complaints about whatever was not understood or is
//! contradictory.
//!
//! A [`Describer`] reads as the slave's [`Collector`](crate::collect::Collector) does, through the
//! same views, sessions and templates and within the same bounds: a record that one sees the other
//! sees. It allocates as it likes and has no place on the packet path.
//!
//! A data set that comes before its template is [`Content::Unknown`]; when the template comes its
//! records are among the [`Late`] ones of that datagram. Complaints about a template's fields are
//! made when it is new or has changed, not each time that it is repeated.

use std::net::SocketAddr;

use crate::session::{
    Observation, Session, SessionId, SessionKey, SessionLimits, SessionTable, Transport,
};
use crate::wire::{self, Counted, HeaderField, Protocol, fixed, ipfix, netflow9};
use crate::{Discard, Timestamp};

mod complaint;
mod description;
mod fixed_records;
mod learned;
mod names;
mod record;
mod samples;
mod sets;
mod teller;
mod template;
mod value;
mod waiting;

pub use complaint::{Complaint, Kind, Severity};
pub use description::{
    Content, Description, Effect, Field, Id, Late, Message, Octets, Record, SampleKind, Set,
    Specifier, Template, What,
};
pub use value::{Items, List, Time, Value};

use learned::Learned;
use teller::Teller;
use waiting::Waiting;

/// Describes datagrams, and remembers what they say of later ones.
#[derive(Debug)]
pub struct Describer {
    sessions: SessionTable<Learned>,
    waiting: Waiting,
    number: u64,
}

impl Default for Describer {
    fn default() -> Self {
        Describer::new(SessionLimits::default())
    }
}

impl Describer {
    /// A describer that knows nothing yet.
    pub fn new(limits: SessionLimits) -> Self {
        Describer { sessions: SessionTable::new(limits), waiting: Waiting::default(), number: 0 }
    }

    /// Describes a datagram from `source` to `destination` that was captured at `now`. The two
    /// addresses and the message's domain say which templates it may use.
    pub fn datagram(
        &mut self,
        source: SocketAddr,
        destination: SocketAddr,
        payload: &[u8],
        now: Timestamp,
    ) -> Description {
        self.carried(source, destination, Transport::Udp, payload, now)
    }

    /// Describes a message that something else than a datagram carried: a file (RFC 5655) is read
    /// by the rules of TCP.
    pub fn carried(
        &mut self,
        source: SocketAddr,
        destination: SocketAddr,
        transport: Transport,
        payload: &[u8],
        now: Timestamp,
    ) -> Description {
        self.number += 1;
        let octets = Octets::new(payload);
        let mut teller = Teller::default();
        let mut description = Description {
            number: self.number,
            octets: octets.clone(),
            message: None,
            late: Vec::new(),
            complaints: Vec::new(),
        };
        match wire::Message::parse(payload) {
            Ok(message) => {
                let (protocol, domain) = (message.protocol(), message.domain());
                let port = destination.port();
                let key = SessionKey { source, port, protocol, domain, transport };
                match self.session(key, now) {
                    Ok(id) => {
                        let (read, late) = self.message(id, now, &octets, &message, &mut teller);
                        description.message = Some(read);
                        description.late = late;
                    }
                    Err(reason) => {
                        teller.say(Kind::SessionRefused, 0..payload.len(), reason.meaning(), "");
                    }
                }
            }
            Err(reason) => complain_of_header(reason, payload, &mut teller),
        }
        description.complaints = teller.finish();
        description
    }

    /// Data sets whose template has not come.
    pub fn waiting(&self) -> u64 {
        self.waiting.len()
    }

    /// The sessions that have templates, with these.
    pub fn templates(&self) -> impl Iterator<Item = (&SessionKey, Vec<Template>)> {
        let of = |session: &Session<Learned>| -> Vec<Template> {
            let (protocol, learned) = (session.key.protocol, &session.extra);
            let known = session.templates.iter();
            known.map(|known| template::of_known(protocol, known, learned)).collect()
        };
        let sessions = self.sessions.iter().map(|(_, session)| session);
        let sessions = sessions.filter(|session| !session.templates.is_empty());
        sessions.map(move |session| (&session.key, of(session)))
    }

    fn session(&mut self, key: SessionKey, now: Timestamp) -> Result<SessionId, Discard> {
        match self.sessions.find(&key) {
            Some(id) => Ok(id),
            None => Ok(self.sessions.insert(key, now, Learned::default())?.id),
        }
    }

    fn message(
        &mut self,
        id: SessionId,
        now: Timestamp,
        octets: &Octets,
        message: &wire::Message<'_>,
        teller: &mut Teller,
    ) -> (Message, Vec<Late>) {
        let session = self.sessions.touch(id, now);
        let header = header(message, octets);
        let body = octets.from(message.header().len());
        let mut late = Vec::new();
        let number = self.number;
        let (sets, records, end) = match message {
            wire::Message::Fixed(packet) => fixed_records::describe(packet, octets, teller),
            wire::Message::Sflow(datagram) => {
                samples::describe(datagram, octets, &mut session.extra, teller)
            }
            wire::Message::Netflow9(packet) => {
                let waiting = &mut self.waiting;
                sets::Reader { session, waiting, teller, number, late: &mut late }.describe(
                    &body,
                    packet.sets(),
                    Some(packet.count()),
                )
            }
            wire::Message::Ipfix(message) => {
                let waiting = &mut self.waiting;
                let end = usize::from(message.length()) - message.header().len();
                sets::Reader { session, waiting, teller, number, late: &mut late }.describe(
                    &body.part(0..end),
                    message.sets(),
                    None,
                )
            }
        };
        observe(session, message, records, teller);
        let rest = octets.from(end);
        if !rest.is_empty() {
            let text = format!("{} octets follow the message's end and are ignored", rest.len());
            teller.say(Kind::TrailingOctets, rest.range(), &text, "");
        }
        let (export_ms, uptime_ms) = times(message);
        let protocol = message.protocol();
        let sequence = (protocol != Protocol::Netflow1).then(|| message.sequence());
        let domain = message.domain();
        let read = Message { protocol, header, domain, sequence, export_ms, uptime_ms, sets, rest };
        (read, late)
    }
}

/// The fields of a message's header.
fn header(message: &wire::Message<'_>, octets: &Octets) -> Vec<Field> {
    let field = |field: &HeaderField| names::header_field(field, octets);
    match message {
        wire::Message::Fixed(packet) => packet.layout().header_fields().map(field).collect(),
        wire::Message::Netflow9(_) => netflow9::HEADER_FIELDS.iter().map(field).collect(),
        wire::Message::Ipfix(_) => ipfix::HEADER_FIELDS.iter().map(field).collect(),
        wire::Message::Sflow(datagram) => samples::header(datagram, octets),
    }
}

/// The export time in milliseconds since 1970 and the uptime in milliseconds, as far as the header
/// says them.
fn times(message: &wire::Message<'_>) -> (Option<u64>, Option<u32>) {
    match message {
        wire::Message::Fixed(packet) => {
            let sub_ms = u64::from(packet.unix_nsecs() / 1_000_000);
            (Some(u64::from(packet.unix_secs()) * 1000 + sub_ms), Some(packet.uptime_ms()))
        }
        wire::Message::Netflow9(packet) => {
            (Some(u64::from(packet.unix_secs()) * 1000), Some(packet.uptime_ms()))
        }
        wire::Message::Ipfix(message) => (Some(u64::from(message.export_time()) * 1000), None),
        wire::Message::Sflow(datagram) => (None, Some(datagram.uptime_ms())),
    }
}

/// Takes note of the sequence number; `records` is `None` when they could not be counted.
fn observe(
    session: &mut Session<Learned>,
    message: &wire::Message<'_>,
    records: Option<u32>,
    teller: &mut Teller,
) {
    let counted = message.protocol().counted();
    let (units, what) = match counted {
        Counted::Nothing => (None, ""),
        Counted::Records => (records, "records"),
        Counted::Messages => (Some(1), "messages"),
    };
    let rule = match message.protocol() {
        Protocol::Netflow9 => "RFC 3954, Section 5.1",
        Protocol::Ipfix => "RFC 7011, Section 3.1",
        _ => "",
    };
    let (got, expected) = (message.sequence(), session.sequence.next());
    let observation = session.sequence.observe(got, units);
    let (Some(expected), at) = (expected, 0..message.header().len()) else { return };
    let (kind, text) = match observation {
        Observation::InOrder => return,
        Observation::Lost(units) => (
            Kind::SequenceGap,
            format!("{expected} was expected and {got} came: {units} {what} are missing"),
        ),
        Observation::Late => {
            (Kind::SequenceBackwards, format!("{expected} was expected and the older {got} came"))
        }
        Observation::Reset => {
            (Kind::SequenceRestart, format!("{expected} was expected; it goes on from {got}"))
        }
    };
    teller.say(kind, at, &text, rule);
}

/// Says why a header makes no sense.
fn complain_of_header(reason: Discard, payload: &[u8], teller: &mut Teller) {
    let whole = 0..payload.len();
    let length = payload.len();
    let (name, rule) = names::version(payload);
    match reason {
        Discard::Empty => teller.say(Kind::Empty, whole, "the datagram has no payload", ""),
        Discard::TooShort => {
            let text = format!("{length} octets are no header of {name}");
            teller.say(Kind::HeaderCutShort, whole, &text, rule);
        }
        Discard::UnknownVersion => {
            let shown = payload.get(..4).unwrap_or(payload);
            let text = format!("it begins with {shown:02x?}, which is no version that weir reads");
            teller.say(Kind::UnknownVersion, whole, &text, "");
        }
        Discard::UnknownAggregation => {
            let scheme = names::in_header(payload, "aggregation").unwrap_or_default();
            let text = format!("aggregation scheme {scheme} is none of the fourteen");
            teller.say(Kind::UnknownAggregation, whole, &text, "");
        }
        _ => {
            let text = contradiction(payload, name);
            teller.say(Kind::MessageLength, whole, &text, rule);
        }
    }
}

/// How the header's length or count contradicts the datagram.
fn contradiction(payload: &[u8], name: &str) -> String {
    let has = payload.len();
    if let Some(length) = names::in_header(payload, "length") {
        return format!("the header says {length} octets, and the datagram has {has}");
    }
    match names::in_header(payload, "count") {
        Some(0) => format!("the header of {name} counts no records"),
        Some(count) => {
            let needed = fixed::LAYOUTS.iter().find_map(|layout| {
                let of = layout.protocol.name() == name;
                of.then(|| layout.header_length + count as usize * layout.record_length)
            });
            let needed = needed.map(|n| format!(", which take {n} octets")).unwrap_or_default();
            format!("the header counts {count} records{needed}, and the datagram has {has}")
        }
        None => format!("the header of {name} contradicts the datagram's {has} octets"),
    }
}

//! A packet as text, for a terminal of a hundred columns.

use weir_dataplane::describe::{
    Complaint, Content, Description, Field, Items, List, Message, Record, SampleKind, Set,
    Severity, Template, Value,
};

use super::{Packet, form};
use crate::cli::paint::Paint;

/// The widest line.
const WIDTH: usize = 100;
/// Octets in a line of `--explain`.
const ROW: usize = 8;
/// Structures around a field that move its name to the right.
const DEEPEST: usize = 8;

/// How packets are shown.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// With each field's place and octets.
    pub explain: bool,
    /// In colours.
    pub paint: Paint,
}

/// A packet's lines.
pub fn packet(packet: &Packet, style: Style) -> String {
    let mut page = Page { text: String::new(), style };
    page.head(packet);
    let description = &packet.description;
    if let Some(message) = &description.message {
        page.message(message);
        for (at, set) in message.sets.iter().enumerate() {
            page.set(at + 1, set, Some(message), None);
        }
    }
    for late in &description.late {
        page.set(0, &late.set, None, Some(late.number));
    }
    if description.message.is_none() || style.explain {
        page.rest(description);
    }
    for complaint in &description.complaints {
        page.complaint(complaint);
    }
    page.text.push('\n');
    page.text
}

/// The templates of a session.
pub fn templates(head: &str, known: &[Template], style: Style) -> String {
    let mut page = Page { text: String::new(), style };
    page.line(0, &style.paint.head(head));
    for template in known {
        page.template(template, false);
    }
    page.text.push('\n');
    page.text
}

struct Page {
    text: String,
    style: Style,
}

impl Page {
    fn line(&mut self, indent: usize, text: &str) {
        self.text.extend(std::iter::repeat_n(' ', indent));
        self.text.push_str(text);
        self.text.push('\n');
    }

    /// Words that belong together, as many in a line as there is room for.
    fn flow(&mut self, indent: usize, lead: &str, words: &[String]) {
        let hang = indent + lead.chars().count();
        let mut line = lead.to_owned();
        let mut width = hang;
        let mut fresh = true;
        for word in words {
            let length = word.chars().count();
            if !fresh && width + 2 + length > WIDTH {
                self.line(indent, &line);
                line = " ".repeat(hang - indent);
                (width, fresh) = (hang, true);
            }
            if !fresh {
                line.push_str("  ");
                width += 2;
            }
            line.push_str(word);
            width += length;
            fresh = false;
        }
        self.line(indent, line.trim_end());
    }

    fn head(&mut self, packet: &Packet) {
        let datagram = &packet.captured.datagram;
        let number = packet.description.number;
        let frame = packet.captured.frame;
        let mut words = vec![match frame == number {
            true => format!("packet {number}"),
            false => format!("packet {number} (frame {frame})"),
        }];
        words.extend(datagram.time_ms.map(form::time_in_text));
        if let (Some(source), Some(destination)) = (datagram.source, datagram.destination) {
            words.push(format!("{source} → {destination}"));
        }
        words.push(format!("{} octets", packet.description.octets.len()));
        let line = words.join("  ");
        let painted = self.style.paint.head(&line);
        self.line(0, &painted);
    }

    fn message(&mut self, message: &Message) {
        let mut words = vec![message.protocol.name().to_owned()];
        words.push(format!("domain {}", message.domain));
        words.extend(message.sequence.map(|sequence| format!("sequence {sequence}")));
        words.extend(message.export_ms.map(|ms| format!("exported {}", form::time_in_text(ms))));
        words.extend(message.uptime_ms.map(|ms| format!("uptime {}", uptime(ms))));
        self.flow(2, "", &words);
        if self.style.explain {
            for field in &message.header {
                self.explained(0, field, None);
            }
        }
    }

    /// A set; `late` is the packet in which it came, when it came before its template.
    fn set(&mut self, at: usize, set: &Set, message: Option<&Message>, late: Option<u64>) {
        let octets = format!("{} octets", set.octets.len());
        let padding = match set.padding.len() {
            0 => String::new(),
            length => format!(", {length} of padding"),
        };
        let title = match &set.content {
            Content::Templates(known) => {
                let kind = known.first().is_some_and(|template| template.options);
                let kind = if kind { "options template" } else { "template" };
                format!("{} (set {})", count(known.len(), kind), set.id)
            }
            Content::Data { options, records } => {
                let kind = if *options { "options data" } else { "data" };
                format!("{kind} of template {}, {}", set.id, count(records.len(), "record"))
            }
            Content::Unknown => format!("data of template {}, which is not known yet", set.id),
            Content::Reserved => format!("reserved set id {}", set.id),
            Content::Fixed(records) => count(records.len(), "record"),
            Content::Sample(kind, _) => sample(*kind).to_owned(),
            Content::Opaque => format!("sample {}/{}", set.id >> 12, set.id & 0xfff),
        };
        let lead = match (late, &set.content) {
            (Some(number), _) => format!("set of packet {number}, whose template has come now: "),
            (None, Content::Fixed(_)) => String::new(),
            (None, Content::Sample(..) | Content::Opaque) => format!("sample {at}: "),
            _ => format!("set {at}: "),
        };
        let title = self.style.paint.head(&format!("{lead}{title}"));
        self.line(2, &format!("{title}, {octets}{padding}"));
        match &set.content {
            Content::Templates(known) => known.iter().for_each(|one| self.template(one, true)),
            Content::Unknown | Content::Reserved | Content::Opaque => {
                if self.style.explain {
                    self.octets(&set.octets, set.octets.offset(), "");
                }
            }
            _ => {
                for (at, record) in set.records().iter().enumerate() {
                    self.record(at + 1, record, message, set.records().len());
                }
            }
        }
        if self.style.explain && !set.padding.is_empty() {
            self.octets(&set.padding, set.padding.offset(), "padding");
        }
    }

    fn template(&mut self, template: &Template, with_effect: bool) {
        let kind = if template.options { "options template" } else { "template" };
        let what = match template.withdrawal {
            true => "withdrawal".to_owned(),
            false => count(template.fields.len(), "field"),
        };
        let effect =
            if with_effect { format!(", {}", template.effect.name()) } else { String::new() };
        let length: Option<usize> =
            template.fields.iter().map(|field| field.length.map(usize::from)).sum();
        let length = match length {
            _ if template.withdrawal => String::new(),
            Some(octets) => format!(", records of {octets} octets"),
            None => ", records of variable length".to_owned(),
        };
        self.line(4, &format!("{kind} {}: {what}{length}{effect}", template.id));
        for field in &template.fields {
            let number = match field.what.id {
                weir_dataplane::describe::Id::Element { enterprise: 0, id } => id.to_string(),
                weir_dataplane::describe::Id::Element { enterprise, id } => {
                    format!("{enterprise}/{id}")
                }
                weir_dataplane::describe::Id::Scope(kind) => format!("scope {kind}"),
                weir_dataplane::describe::Id::Named => String::new(),
            };
            let length = field.length.map_or("variable".to_owned(), |length| length.to_string());
            let scope = if field.scope { "  (scope)" } else { "" };
            let name = form::printable(&field.what.name);
            let kind = field.what.type_name().unwrap_or("unknown");
            if self.style.explain {
                let line = format!("{number} {name} {kind} {length}{scope}");
                self.octets(&field.octets, field.octets.offset(), &line);
            } else {
                let line = format!("{number:>11}  {name:<36} {kind:<20} {length:>8}{scope}");
                self.line(4, &line);
            }
        }
    }

    fn record(&mut self, at: usize, record: &Record, message: Option<&Message>, of: usize) {
        let lead = if of > 1 { format!("{at}. ") } else { String::new() };
        if self.style.explain {
            let place = record.octets.range();
            self.line(4, &format!("{lead}octets {} to {}", place.start, place.end));
            record.fields.iter().for_each(|field| self.explained(0, field, message));
            return;
        }
        let (nested, plain): (Vec<_>, Vec<_>) =
            record.fields.iter().partition(|field| is_nested(field));
        let words: Vec<_> = plain.iter().filter_map(|field| word(field, message)).collect();
        self.flow(4, &lead, &words);
        nested.iter().for_each(|field| self.nested(6, field, message));
    }

    /// A structure or a list, its parts below it.
    fn nested(&mut self, indent: usize, field: &Field, message: Option<&Message>) {
        let name = form::printable(&field.what.name);
        match &field.value {
            Value::Fields(fields) => {
                let (nested, plain): (Vec<_>, Vec<_>) = fields.iter().partition(|f| is_nested(f));
                let words: Vec<_> = plain.iter().filter_map(|field| word(field, message)).collect();
                self.flow(indent, &format!("{name}: "), &words);
                let deeper = (indent + 2).min(WIDTH / 2);
                nested.iter().for_each(|field| self.nested(deeper, field, message));
            }
            Value::List(list) => self.list(indent, &name, list, message),
            _ => {}
        }
    }

    fn list(&mut self, indent: usize, name: &str, list: &List, message: Option<&Message>) {
        let semantic = semantic(list);
        let deeper = (indent + 2).min(WIDTH / 2);
        match &list.items {
            Items::Basic(values) if values.iter().any(is_nested) => {
                self.line(indent, &format!("{name}, {semantic}:"));
                values.iter().for_each(|value| self.nested(deeper, value, message));
            }
            Items::Basic(values) => {
                let of = values.first().map_or("nothing", |value| &value.what.name);
                let words: Vec<_> = values.iter().map(|value| shown(value, message)).collect();
                let of = form::printable(of);
                self.flow(indent, &format!("{name}, {semantic} {of}: "), &words);
            }
            Items::Templates(runs) => {
                for (id, records) in runs {
                    let count = count(records.len(), "record");
                    self.line(indent, &format!("{name}, {semantic}: {count} of template {id}"));
                    for record in records {
                        self.sub_record(deeper, record, message);
                    }
                }
            }
        }
    }

    fn sub_record(&mut self, indent: usize, record: &Record, message: Option<&Message>) {
        let (nested, plain): (Vec<_>, Vec<_>) = record.fields.iter().partition(|f| is_nested(f));
        let words: Vec<_> = plain.iter().filter_map(|field| word(field, message)).collect();
        self.flow(indent, "- ", &words);
        nested.iter().for_each(|field| self.nested(indent + 2, field, message));
    }

    /// A field with its place and octets; its name stands in by so many structures around it.
    fn explained(&mut self, depth: usize, field: &Field, message: Option<&Message>) {
        let name = form::printable(&field.what.name);
        let number = match field.element() {
            Some((0, id)) => format!(" ({id})"),
            Some((enterprise, id)) => format!(" ({enterprise}/{id})"),
            None => String::new(),
        };
        let scope = if field.scope { ", scope" } else { "" };
        let indent = " ".repeat(2 * depth.min(DEEPEST));
        let title = format!("{indent}{name}{number}{scope}");
        let place = field.octets.offset();
        match &field.value {
            Value::Fields(fields) => {
                self.part(field, &title);
                fields.iter().for_each(|field| self.explained(depth + 1, field, message));
            }
            Value::List(list) => {
                self.part(field, &format!("{title}, {}", semantic(list)));
                self.explained_list(depth + 1, list, message);
            }
            Value::Octets => self.octets(&field.octets, place, &title),
            _ => {
                let text = format!("{title} = {}", shown(field, message));
                self.octets(&field.octets, place, &text);
            }
        }
    }

    fn explained_list(&mut self, depth: usize, list: &List, message: Option<&Message>) {
        let runs = match &list.items {
            Items::Basic(values) => {
                return values.iter().for_each(|value| self.explained(depth, value, message));
            }
            Items::Templates(runs) => runs,
        };
        for (id, record) in
            runs.iter().flat_map(|(id, records)| records.iter().map(move |r| (id, r)))
        {
            let indent = " ".repeat(2 * depth.min(DEEPEST));
            let title = format!("{indent}record of template {id}");
            self.line(4, &columns(record.octets.offset(), Some(record.octets.len()), &[], &title));
            record.fields.iter().for_each(|field| self.explained(depth + 1, field, message));
        }
    }

    /// A structure, whose octets are its parts'.
    fn part(&mut self, field: &Field, title: &str) {
        let octets = &field.octets;
        self.line(4, &columns(octets.offset(), Some(octets.len()), &[], title));
    }

    /// Rows of octets; the text stands beside the first.
    fn octets(&mut self, octets: &[u8], offset: usize, text: &str) {
        let mut rows = octets.chunks(ROW);
        let first = rows.next().unwrap_or_default();
        self.line(4, &columns(offset, Some(octets.len()), first, text));
        for (at, rest) in rows.enumerate() {
            self.line(4, &columns(offset + (at + 1) * ROW, None, rest, ""));
        }
    }

    /// What follows the message; all of what is none.
    fn rest(&mut self, description: &Description) {
        match &description.message {
            Some(message) if message.rest.is_empty() => {}
            Some(message) => {
                self.octets(&message.rest, message.rest.offset(), "behind the message");
            }
            None => {
                // Enough for a look; --explain shows all.
                let shown = if self.style.explain { usize::MAX } else { 4 * ROW };
                let octets = &description.octets;
                self.octets(&octets[..octets.len().min(shown)], 0, "not understood");
            }
        }
    }

    fn complaint(&mut self, complaint: &Complaint) {
        let severity = complaint.kind.severity();
        let name = severity.name();
        let painted = match severity {
            Severity::Error => self.style.paint.bad(name),
            Severity::Warning => self.style.paint.warning(name),
            Severity::Note => name.to_owned(),
        };
        let (start, end) = (complaint.at.start, complaint.at.end);
        let place = match complaint.place.as_str() {
            "" => format!("octets {start} to {end}"),
            place => format!("{}, octets {start} to {end}", form::printable(place)),
        };
        let rule = match complaint.rule {
            "" => String::new(),
            rule => format!(" ({rule})"),
        };
        let text = form::printable(&complaint.text);
        self.line(2, &format!("{painted}: {place}"));
        let words: Vec<_> = format!("{text}{rule}").split(' ').map(str::to_owned).collect();
        self.paragraph(4, &words);
    }

    /// Words of a sentence.
    fn paragraph(&mut self, indent: usize, words: &[String]) {
        let mut line = String::new();
        for word in words {
            let width = indent + line.chars().count() + 1 + word.chars().count();
            if !line.is_empty() && width > WIDTH {
                self.line(indent, &line);
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.line(indent, &line);
    }
}

/// A line of `--explain`: where, how many, which octets, what.
fn columns(offset: usize, length: Option<usize>, octets: &[u8], text: &str) -> String {
    const OCTETS: usize = 3 * ROW;
    let length = length.map(|length| length.to_string()).unwrap_or_default();
    let octets: String = octets.iter().map(|octet| format!("{octet:02x} ")).collect();
    let line = format!("{offset:>5} {length:>5}  {octets:<OCTETS$} {text}");
    line.trim_end().to_owned()
}

fn is_nested(field: &Field) -> bool {
    matches!(field.value, Value::Fields(_) | Value::List(_))
}

fn semantic(list: &List) -> String {
    list.semantic_name().map_or_else(|| format!("semantic {}", list.semantic), str::to_owned)
}

/// A field's name and value; bytes that the format leaves unused are left out.
fn word(field: &Field, message: Option<&Message>) -> Option<String> {
    if field.what.name == "unused" && field.octets.iter().all(|&octet| octet == 0) {
        return None;
    }
    let scope = if field.scope { "[scope] " } else { "" };
    Some(format!("{scope}{} {}", form::printable(&field.what.name), shown(field, message)))
}

fn shown(field: &Field, message: Option<&Message>) -> String {
    let value = form::plain(field);
    match form::meaning(field, message) {
        Some(meaning) => format!("{value} ({meaning})"),
        None => value,
    }
}

fn sample(kind: SampleKind) -> &'static str {
    match kind {
        SampleKind::Flow => "a sampled packet",
        SampleKind::Counters => "counters",
        SampleKind::Discarded => "a discarded packet",
    }
}

/// "1 record", "2 records".
pub(super) fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// An uptime of so many milliseconds as days and a clock.
fn uptime(ms: u32) -> String {
    let seconds = ms / 1000;
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let clock = format!("{hours:02}:{:02}:{:02}.{:03}", seconds / 60 % 60, seconds % 60, ms % 1000);
    if days == 0 { clock } else { format!("{days} d {clock}") }
}

//! Data records by their template, structured data of RFC 6313 within them.

use super::complaint::Kind;
use super::description::{Field, Octets, Record, What};
use super::learned::Learned;
use super::names;
use super::teller::{Step, Teller};
use super::value::{self, Fault, Items, List, Value};
use crate::element::DataType;
use crate::template::{Template, TemplateStore, variable_value};
use crate::wire::Protocol;
use crate::wire::ipfix;
use crate::wire::set::{FieldSpecifier, Set, TemplateRecords, templates_id};

/// What is needed to read records: whose templates there are, and where to complain.
pub(super) struct Reader<'a> {
    pub(super) protocol: Protocol,
    pub(super) templates: &'a TemplateStore,
    pub(super) learned: &'a Learned,
    pub(super) teller: &'a mut Teller,
}

/// A template's fields, looked up once for all of its records.
pub(super) struct Shape<'a> {
    pub(super) template: &'a Template,
    fields: Vec<(What, FieldSpecifier, bool)>,
    /// Pairs of fields of which the first is not to be after the second, and whether they wrap.
    ordered: Vec<(usize, usize, bool)>,
}

/// Elements that say when a flow began and ended, and whether they wrap.
const ENDS: [(u16, u16, bool); 5] =
    [(22, 21, true), (150, 151, false), (152, 153, false), (154, 155, false), (156, 157, false)];

impl<'a> Shape<'a> {
    pub(super) fn new(protocol: Protocol, template: &'a Template, learned: &Learned) -> Self {
        let id = templates_id(protocol, template.options);
        let set = Set { id, body: &template.record };
        let record = TemplateRecords::new(protocol, &set).next();
        let record = record.expect("it is a record").expect("it was read when it was learned");
        let fields: Vec<_> = (record.fields().enumerate())
            .map(|(at, field)| {
                let scope = at < usize::from(record.scope_count);
                (names::of_specifier(protocol, &field, scope, learned), field, scope)
            })
            .collect();
        let place = |id| fields.iter().position(|(_, f, _)| (f.enterprise, f.element) == (0, id));
        let ordered = ENDS
            .iter()
            .filter_map(|&(start, end, wraps)| Some((place(start)?, place(end)?, wraps)));
        let ordered = ordered.collect();
        Shape { template, fields, ordered }
    }
}

impl<'a> Reader<'a> {
    /// The shape of the records of this template.
    pub(super) fn shape(&self, id: u16) -> Option<Shape<'a>> {
        let template = self.templates.get(id)?;
        Some(Shape::new(self.protocol, template, self.learned))
    }

    /// The records at the head of `body`, and how many octets they take. After a malformed one it
    /// ends with what is left.
    pub(super) fn records(&mut self, shape: &Shape<'_>, body: &Octets) -> (Vec<Record>, usize) {
        let mut records = Vec::new();
        let mut end = 0;
        for read in shape.template.records(body) {
            match read {
                Ok(bytes) => {
                    let octets = body.part(end..end + bytes.len());
                    end += bytes.len();
                    self.teller.enter(Step::Record(records.len() + 1));
                    let fields = self.fields(shape, &octets);
                    self.teller.leave();
                    records.push(Record { fields, octets });
                }
                Err(_) => {
                    self.teller.enter(Step::Record(records.len() + 1));
                    let rest = body.from(end);
                    let text = format!(
                        "a field of variable length leaves the {} octets that are left",
                        rest.len()
                    );
                    self.teller.say(
                        Kind::RecordMalformed,
                        rest.range(),
                        &text,
                        "RFC 7011, Section 7",
                    );
                    self.teller.leave();
                    // What cannot be read is no padding.
                    end = body.len();
                }
            }
        }
        (records, end)
    }

    /// The fields of a record that is all there.
    fn fields(&mut self, shape: &Shape<'_>, record: &Octets) -> Vec<Field> {
        if !self.teller.may_describe(shape.fields.len(), record.range()) {
            return Vec::new();
        }
        let mut fields = Vec::with_capacity(shape.fields.len());
        let mut at = 0;
        for (what, specifier, scope) in &shape.fields {
            let value = match specifier.is_variable() {
                false => at..at + usize::from(specifier.length),
                true => variable_value(record, at).expect("the record was walked"),
            };
            at = value.end;
            let octets = record.part(value);
            fields.push(self.field(what.clone(), octets, *scope));
        }
        self.contradictions(shape, &fields, record);
        fields
    }

    /// A field with this value.
    fn field(&mut self, what: What, octets: Octets, scope: bool) -> Field {
        let value = match what.kind {
            None => Value::Octets,
            Some(DataType::BasicList) => self.list(&what, &octets, Self::basic),
            Some(DataType::SubTemplateList) => self.list(&what, &octets, Self::sub_templates),
            Some(DataType::SubTemplateMultiList) => {
                self.list(&what, &octets, Self::multiple_sub_templates)
            }
            // A value of no octets says nothing; its template was complained of.
            Some(_) if octets.is_empty() => Value::Octets,
            Some(kind) => value::read(kind, &octets).unwrap_or_else(|fault| {
                self.complain_of_value(&what, &octets, fault);
                Value::Octets
            }),
        };
        Field { what, scope, value, octets }
    }

    fn complain_of_value(&mut self, what: &What, octets: &Octets, fault: Fault) {
        let (text, rule) = match fault {
            // Said of the template already, once.
            Fault::Length => return,
            Fault::Boolean => (
                format!("{} is neither 1 (true) nor 2 (false)", octets[0]),
                "RFC 7011, Section 6.1.5",
            ),
            Fault::Text => ("the text is not UTF-8".to_owned(), "RFC 7011, Section 6.1.6"),
        };
        // NetFlow v9 knows no types.
        let rule = if self.protocol == Protocol::Ipfix { rule } else { "" };
        self.teller.enter(Step::Field(what.name.clone()));
        self.teller.say(Kind::Value, octets.range(), &text, rule);
        self.teller.leave();
    }

    /// Flows that end before they begin.
    fn contradictions(&mut self, shape: &Shape<'_>, fields: &[Field], record: &Octets) {
        for &(start, end, wraps) in &shape.ordered {
            let (start, end) = (&fields[start], &fields[end]);
            if before(&end.value, &start.value, wraps) {
                let text = format!("{} is after {}", start.what.name, end.what.name);
                self.teller.say(Kind::Contradiction, record.range(), &text, "");
            }
        }
    }

    /// A structured value; what is wrong with it is said, and it is only octets then.
    fn list(
        &mut self,
        what: &What,
        octets: &Octets,
        read: fn(&mut Self, &Octets) -> Result<List, String>,
    ) -> Value {
        self.teller.enter(Step::Field(what.name.clone()));
        let list = if self.teller.descend() {
            let list = read(self, octets);
            self.teller.ascend();
            list
        } else {
            Err("it stands in too many other lists to be read".to_owned())
        };
        let value = list.map(Value::List).unwrap_or_else(|text| {
            self.teller.say(Kind::ListMalformed, octets.range(), &text, list_rule(what.kind));
            Value::Octets
        });
        self.teller.leave();
        value
    }

    /// RFC 6313, Section 4.5.1: semantic, one field specifier, values.
    fn basic(&mut self, octets: &Octets) -> Result<List, String> {
        let (semantic, field, head) =
            ipfix::basic_list(octets).ok_or("it ends before its header does")?;
        let what = names::of_specifier(self.protocol, &field, false, self.learned);
        if what.kind.is_none() {
            let text = format!("element {} is not known", what.name);
            self.teller.say(Kind::UnknownElement, octets.range(), &text, "");
        }
        if field.length == 0 && head < octets.len() {
            return Err("values of no octets stand in more than none".to_owned());
        }
        let mut values = Vec::new();
        let mut at = head;
        while at < octets.len() {
            let value = match field.is_variable() {
                true => variable_value(octets, at),
                false => Some(at..at + usize::from(field.length)),
            };
            let value = value.filter(|value| value.end <= octets.len());
            let value =
                value.ok_or_else(|| format!("value {} leaves the list", values.len() + 1))?;
            at = value.end;
            let value = octets.part(value);
            if !self.teller.may_describe(1, value.range()) {
                break;
            }
            values.push(self.field(what.clone(), value, false));
        }
        Ok(List { semantic, items: Items::Basic(values) })
    }

    /// RFC 6313, Section 4.5.2: semantic, template id, records.
    fn sub_templates(&mut self, octets: &Octets) -> Result<List, String> {
        let (semantic, id, head) =
            ipfix::sub_template_list(octets).ok_or("it ends before its header does")?;
        let records = self.of_template(id, &octets.from(head))?;
        Ok(List { semantic, items: Items::Templates(vec![(id, records)]) })
    }

    /// RFC 6313, Section 4.5.3: semantic, then runs of template id, length, records.
    fn multiple_sub_templates(&mut self, octets: &Octets) -> Result<List, String> {
        let (&semantic, _) = octets.split_first().ok_or("it ends before its header does")?;
        let mut runs = Vec::new();
        let mut at = 1;
        while at < octets.len() {
            let (id, body) = ipfix::sub_template_run(&octets[at..])
                .ok_or_else(|| format!("run {} leaves the list", runs.len() + 1))?;
            let body = at + body.start..at + body.end;
            at = body.end;
            runs.push((id, self.of_template(id, &octets.part(body))?));
        }
        Ok(List { semantic, items: Items::Templates(runs) })
    }

    fn of_template(&mut self, id: u16, body: &Octets) -> Result<Vec<Record>, String> {
        if body.is_empty() {
            return Ok(Vec::new());
        }
        let shape = self.shape(id).ok_or_else(|| format!("template {id} is not known"))?;
        let (records, end) = self.records(&shape, body);
        match body.len() - end {
            0 => Ok(records),
            left => Err(format!("{left} octets behind record {} are no record", records.len())),
        }
    }
}

/// Whether one moment lies before another.
fn before(a: &Value, b: &Value, wraps: bool) -> bool {
    match (a, b) {
        (Value::Time(a), Value::Time(b)) => a < b,
        // An uptime of 32 bits that wraps: the nearer way round counts.
        (&Value::Unsigned(a), &Value::Unsigned(b)) if wraps => {
            (a as u32).wrapping_sub(b as u32) > 1 << 31
        }
        _ => false,
    }
}

fn list_rule(kind: Option<DataType>) -> &'static str {
    match kind {
        Some(DataType::BasicList) => "RFC 6313, Section 4.5.1",
        Some(DataType::SubTemplateList) => "RFC 6313, Section 4.5.2",
        _ => "RFC 6313, Section 4.5.3",
    }
}

//! Information elements: what they are called, and how their values are read.
//!
//! [`TABLE`] is IANA's registry and what enterprises have published of their own elements, generated
//! from the files in `elements/`. Elements are called by their name in it: IANA's alone
//! (`octetDeltaCount`), an enterprise's behind the enterprise (`cisco/appHTTPHost`); any element by
//! its numbers (`9/12235`). Which element fills which column says [`Column::elements`].

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Column;

mod value;

pub use value::ElementValue;

/// The abstract data types of the elements in [`TABLE`] (RFC 7012, Section 3.1; RFC 6313).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the registry's own")]
pub enum DataType {
    Unsigned8,
    Unsigned16,
    Unsigned32,
    Unsigned64,
    Unsigned256,
    /// Any signed number: the value's length says which.
    Signed32,
    /// Any fraction: the value's length says which.
    Float64,
    Boolean,
    OctetArray,
    String,
    MacAddress,
    Ipv4Address,
    Ipv6Address,
    DateTimeSeconds,
    DateTimeMilliseconds,
    DateTimeMicroseconds,
    DateTimeNanoseconds,
    BasicList,
    SubTemplateList,
    SubTemplateMultiList,
}

/// An information element of [`TABLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element {
    /// Whose element it is: an IANA private enterprise number, 0 for IANA's own.
    pub enterprise: u32,
    /// Its number.
    pub id: u16,
    /// Its name.
    pub name: &'static str,
    /// The type of its values.
    pub kind: DataType,
    /// What a value counts; empty for identifiers and the like.
    pub units: &'static str,
}

impl Element {
    /// The element of IANA's with this number.
    pub fn from_id(id: u16) -> Option<&'static Element> {
        Element::find(0, id)
    }

    /// The element with this number of this enterprise; 0 stands for IANA's own, and for the
    /// numbers by which NetFlow v9 carries enterprises' elements.
    pub fn find(enterprise: u32, id: u16) -> Option<&'static Element> {
        let wanted = ElementId { enterprise, id }.canonical();
        let key = |element: &Element| ElementId { enterprise: element.enterprise, id: element.id };
        TABLE.binary_search_by_key(&wanted, key).ok().map(|at| &TABLE[at])
    }

    /// The element of IANA's with this name, in the registry's spelling.
    pub fn from_name(name: &str) -> Option<&'static Element> {
        let iana = TABLE.iter().take_while(|element| element.enterprise == 0);
        iana.into_iter().find(|element| element.name == name)
    }
}

/// All elements in the order of their enterprises and numbers.
pub static TABLE: &[Element] = &include!(concat!(env!("OUT_DIR"), "/elements.rs"));

/// NetFlow v9's numbers for enterprises' elements: number, enterprise, element. Cisco sets the
/// highest bit of its own elements' numbers, ntop adds to them, Palo Alto Networks took two.
static ALIASES: &[(u16, u32, u16)] = &include!(concat!(env!("OUT_DIR"), "/aliases.rs"));

/// Enterprises that have a name here: number, short name, whose it is.
pub static ENTERPRISES: &[(u32, &str, &str)] =
    &include!(concat!(env!("OUT_DIR"), "/enterprises.rs"));

/// Which element: of which enterprise, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ElementId {
    /// An IANA private enterprise number; 0 for IANA's own elements.
    pub enterprise: u32,
    /// The element's number.
    pub id: u16,
}

/// Why a text names no element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameError {
    /// Nothing is called so.
    Unknown,
    /// Elements of several enterprises are: the names that tell them apart.
    Ambiguous(Vec<String>),
}

impl ElementId {
    /// An enterprise's element; 0 for IANA's.
    pub const fn new(enterprise: u32, id: u16) -> Self {
        ElementId { enterprise, id }
    }

    /// The same element by its enterprise, where NetFlow v9 carries it by a number of its own.
    #[must_use]
    pub fn canonical(self) -> ElementId {
        if self.enterprise != 0 || self.id < 0x8000 {
            return self;
        }
        let found = ALIASES.binary_search_by_key(&self.id, |&(alias, ..)| alias);
        found.map_or(self, |at| ElementId { enterprise: ALIASES[at].1, id: ALIASES[at].2 })
    }

    /// What is known of it.
    pub fn element(self) -> Option<&'static Element> {
        Element::find(self.enterprise, self.id)
    }

    /// How its values are read; an unknown element's are bytes.
    pub fn kind(self) -> DataType {
        self.element().map_or(DataType::OctetArray, |element| element.kind)
    }

    /// The column that takes its values.
    pub fn column(self) -> Option<Column> {
        let own = (self.enterprise, self.id);
        Column::ALL.iter().copied().find(|column| column.elements().any(|element| element == own))
    }

    /// The element that a text names: `octetDeltaCount`, `cisco/appHTTPHost`, `cisco/12235`,
    /// `9/12235`, `0/1`; letters of either case. An enterprise's element may go without the
    /// enterprise when no other has one of that name.
    ///
    /// # Errors
    /// That nothing is called so, or too much.
    pub fn parse(text: &str) -> Result<ElementId, NameError> {
        let id = |element: &Element| ElementId { enterprise: element.enterprise, id: element.id };
        let is = |element: &&Element, name: &str| element.name.eq_ignore_ascii_case(name);
        if let Some((enterprise, name)) = text.split_once('/') {
            let enterprise = parse_enterprise(enterprise).ok_or(NameError::Unknown)?;
            if let Some(number) = digits(name) {
                let id = number.try_into().map_err(|_| NameError::Unknown)?;
                return Ok(ElementId { enterprise, id }.canonical());
            }
            let found =
                TABLE.iter().find(|element| element.enterprise == enterprise && is(element, name));
            return found.map(id).ok_or(NameError::Unknown);
        }
        let found: Vec<ElementId> =
            TABLE.iter().filter(|element| is(element, text)).map(id).collect();
        match found[..] {
            [] => Err(NameError::Unknown),
            [only] => Ok(only),
            [first, ..] if first.enterprise == 0 => Ok(first),
            _ => Err(NameError::Ambiguous(found.iter().map(ElementId::to_string).collect())),
        }
    }
}

impl fmt::Display for ElementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.element();
        match known {
            Some(element) if element.enterprise == 0 => return f.pad(element.name),
            _ => {}
        }
        let enterprise = match enterprise_name(self.enterprise) {
            Some(name) if self.enterprise != 0 => name.to_owned(),
            _ => self.enterprise.to_string(),
        };
        match known {
            Some(element) => f.pad(&format!("{enterprise}/{}", element.name)),
            None => f.pad(&format!("{enterprise}/{}", self.id)),
        }
    }
}

/// An enterprise's short name.
pub fn enterprise_name(enterprise: u32) -> Option<&'static str> {
    let found = ENTERPRISES.binary_search_by_key(&enterprise, |&(number, ..)| number);
    found.ok().map(|at| ENTERPRISES[at].1)
}

fn parse_enterprise(text: &str) -> Option<u32> {
    let named = || {
        let mut all = ENTERPRISES.iter();
        all.find(|(_, name, _)| name.eq_ignore_ascii_case(text)).map(|&(number, ..)| number)
    };
    digits(text).or_else(named)
}

fn digits(text: &str) -> Option<u32> {
    Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    #[test]
    fn elements_are_found_by_number_and_by_name() {
        let element = Element::from_id(1).unwrap();
        assert_eq!((element.name, element.units), ("octetDeltaCount", "octets"));
        assert_eq!(Element::from_name("flowEndMilliseconds").unwrap().id, 153);
        assert_eq!(Element::from_id(0), None);
        assert_eq!(Element::from_id(u16::MAX), None);
        assert_eq!(Element::find(9, 12235).unwrap().name, "appHTTPHost");
        assert_eq!(Element::find(29305, 1).unwrap().name, "reverseOctetDeltaCount");
        assert_eq!(Element::find(6871, 16398).unwrap().name, "reverseInitialTCPFlags");
    }

    #[test]
    fn the_tables_are_in_the_order_in_which_they_are_sought() {
        assert!(TABLE.is_sorted_by_key(|element| (element.enterprise, element.id)));
        assert!(ALIASES.is_sorted_by_key(|&(alias, ..)| alias));
        assert!(ENTERPRISES.is_sorted_by_key(|&(number, ..)| number));
        let known: HashSet<u32> = ENTERPRISES.iter().map(|&(number, ..)| number).collect();
        assert!(TABLE.iter().all(|element| known.contains(&element.enterprise)));
    }

    #[test]
    fn names_are_unique_within_an_enterprise() {
        let mut seen = HashMap::new();
        for element in TABLE {
            let key = (element.enterprise, element.name.to_ascii_lowercase());
            assert_eq!(seen.insert(key, element.id), None, "{element:?}");
        }
    }

    #[test]
    fn every_element_is_found_by_what_it_prints() {
        for element in TABLE {
            let id = ElementId::new(element.enterprise, element.id);
            assert_eq!(ElementId::parse(&id.to_string()), Ok(id));
        }
        for (enterprise, id) in [(0, 4242), (9, 32000), (70000, 1)] {
            let id = ElementId::new(enterprise, id);
            assert_eq!(ElementId::parse(&id.to_string()), Ok(id), "{id}");
        }
    }

    #[test]
    fn an_element_has_several_names() {
        let host = ElementId::new(9, 12235);
        for name in ["cisco/appHTTPHost", "9/12235", "CISCO/12235", "apphttphost", "0/45003"] {
            assert_eq!(ElementId::parse(name), Ok(host), "{name}");
        }
        assert_eq!(host.to_string(), "cisco/appHTTPHost");
        assert_eq!(ElementId::new(9, 1).to_string(), "cisco/1");
        for wrong in ["", "/", "9/", "9/70000", "cisco/x", "x/1", "+9/1", "userid/1"] {
            assert_eq!(ElementId::parse(wrong), Err(NameError::Unknown), "{wrong}");
        }
    }

    #[test]
    fn netflow_v9_carries_enterprises_elements_by_numbers_of_its_own() {
        let canonical = |id| ElementId::new(0, id).canonical();
        assert_eq!(canonical(33002), ElementId::new(9, 234));
        assert_eq!(canonical(40000), ElementId::new(9, 7232));
        assert_eq!(canonical(57590), ElementId::new(35632, 118));
        assert_eq!(canonical(56701).to_string(), "paloalto/appId");
        assert_eq!(canonical(65000), ElementId::new(0, 65000));
    }

    #[test]
    fn the_elements_of_the_columns_are_known() {
        for &column in Column::ALL {
            for (enterprise, id) in column.elements() {
                assert!(Element::find(enterprise, id).is_some(), "{column:?}: {enterprise}/{id}");
            }
        }
        assert_eq!(ElementId::new(0, 1).column(), Some(Column::Bytes));
        assert_eq!(ElementId::new(9, 12235).column(), None);
    }
}

//! What no column holds: information elements as the exporter wrote them, row by row.
//!
//! The elements of a row that have no column keep their bytes. Which elements they are, and how long
//! each is, is a [`Shape`]; rows of one template share it, so a row costs its bytes and two numbers,
//! and a query that asks for an element passes over the rows of the shapes without it. A row's bytes
//! are its values in the shape's order, those of variable length behind their length as in an IPFIX
//! record (RFC 7011, Section 7).
//!
//! A batch or segment of which no row has such an element has no overflow at all.

use std::hash::{BuildHasher, Hash};
use std::ops::Range;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};
use serde::{Deserialize, Serialize};

use crate::element::ElementId;

/// The length of a field that says itself how long it is.
pub const VARIABLE_LENGTH: u16 = u16::MAX;

/// The most fields of a shape.
pub const MAX_FIELDS: usize = 1 << 12;

/// An element of a shape, and the bytes of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Field {
    /// Which element.
    pub element: ElementId,
    /// Bytes of its value, or [`VARIABLE_LENGTH`].
    pub length: u16,
}

/// An element of one row with its value's bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Extra {
    /// Which element.
    pub element: ElementId,
    /// The value as it stood in the record.
    pub value: Box<[u8]>,
}

/// Which elements a row has beside its columns, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    fields: Box<[Field]>,
}

impl Shape {
    /// A shape of these fields; the first [`MAX_FIELDS`] of them.
    pub fn new(fields: impl IntoIterator<Item = Field>) -> Self {
        Shape { fields: fields.into_iter().take(MAX_FIELDS).collect() }
    }

    /// The fields in their order.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Where the first value of this element stands among the fields.
    pub fn find(&self, element: ElementId) -> Option<usize> {
        self.fields.iter().position(|field| field.element == element)
    }

    /// The values of a row of this shape, in the order of the fields.
    pub fn values<'a>(&'a self, row: &'a [u8]) -> impl Iterator<Item = (ElementId, &'a [u8])> {
        let mut at = 0;
        self.fields.iter().map_while(move |field| {
            let range = field.range(row, at)?;
            at = range.end;
            Some((field.element, row.get(range)?))
        })
    }

    /// Whether `row` is the values of this shape and nothing else.
    fn fits(&self, row: &[u8]) -> bool {
        let end = self.fields.iter().try_fold(0, |at, field| Some(field.range(row, at)?.end));
        end == Some(row.len())
    }

    /// The value of the field at this place of a row.
    fn value<'a>(&self, field: usize, row: &'a [u8]) -> Option<&'a [u8]> {
        let mut at = 0;
        for before in &self.fields[..field] {
            at = before.range(row, at)?.end;
        }
        row.get(self.fields[field].range(row, at)?)
    }
}

impl Field {
    /// Where the value lies that begins at `at`, its length before it included there; `None` when
    /// the row ends before the value does.
    fn range(self, row: &[u8], at: usize) -> Option<Range<usize>> {
        let (start, length) = match (self.length, row.get(at..)?) {
            (VARIABLE_LENGTH, [0xff, high, low, ..]) => {
                (at + 3, usize::from(u16::from_be_bytes([*high, *low])))
            }
            (VARIABLE_LENGTH, [0xff, ..] | []) => return None,
            (VARIABLE_LENGTH, [length, ..]) => (at + 1, usize::from(*length)),
            (length, _) => (at, usize::from(length)),
        };
        let end = start + length;
        (end <= row.len()).then_some(start..end)
    }
}

/// The overflow of some rows.
///
/// Like a column it may be shorter than the rows it belongs to; the others have nothing here.
#[derive(Clone, Debug, Default)]
pub struct Overflow {
    shapes: Vec<Arc<Shape>>,
    /// The shapes by what they hold: a batch may see those of many templates.
    known: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// Of each row one more than its shape's place in `shapes`, or 0.
    shape_of: Vec<u32>,
    /// Where each row's bytes end.
    ends: Vec<u64>,
    bytes: Vec<u8>,
}

impl Overflow {
    /// Rows that it knows of; those behind them have nothing here.
    pub fn rows(&self) -> usize {
        self.shape_of.len()
    }

    /// Whether no row has anything here.
    pub fn is_empty(&self) -> bool {
        self.shapes.is_empty()
    }

    /// The bytes of all rows' values.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The shapes of its rows.
    pub fn shapes(&self) -> &[Arc<Shape>] {
        &self.shapes
    }

    /// Of each row one more than its shape's place in [`Overflow::shapes`], or 0.
    pub fn shape_codes(&self) -> &[u32] {
        &self.shape_of
    }

    /// A row's shape and bytes, when it has any.
    pub fn row(&self, row: usize) -> Option<(&Shape, &[u8])> {
        let code = *self.shape_of.get(row)?;
        let shape = self.shapes.get(code.checked_sub(1)? as usize)?;
        Some((shape, self.row_bytes(row)))
    }

    /// A row's bytes; none when it has nothing here.
    pub fn row_bytes(&self, row: usize) -> &[u8] {
        let end = |row: usize| self.ends.get(row).map_or(self.bytes.len(), |&end| end as usize);
        let start = row.checked_sub(1).map_or(0, end);
        &self.bytes[start..end(row)]
    }

    /// A row's elements and their values.
    pub fn elements(&self, row: usize) -> impl Iterator<Item = (ElementId, &[u8])> {
        self.row(row).into_iter().flat_map(|(shape, bytes)| shape.values(bytes))
    }

    /// What finds the values of one element, row by row.
    pub fn reader(&self, element: ElementId) -> ElementReader<'_> {
        let fields = self.shapes.iter().map(|shape| shape.find(element)).collect();
        ElementReader { overflow: self, fields }
    }

    /// Adds the next row, after the `begin` ones before it. `write` appends its values' bytes, which
    /// must fit the shape.
    pub fn push(&mut self, begin: usize, shape: &Arc<Shape>, write: impl FnOnce(&mut Vec<u8>)) {
        let code = self.code(shape);
        self.resize(begin);
        write(&mut self.bytes);
        self.shape_of.push(code);
        self.ends.push(self.bytes.len() as u64);
        debug_assert!(shape.fits(self.row_bytes(begin)), "the values fit the shape");
    }

    /// Adds the next row, after the `begin` ones before it, by its elements. Its shape is of its own
    /// making: for rows that did not come from a template.
    pub(crate) fn push_extras(&mut self, begin: usize, extras: &[Extra]) {
        let field = |extra: &Extra| Field { element: extra.element, length: VARIABLE_LENGTH };
        let shape = Arc::new(Shape::new(extras.iter().map(field)));
        let fields = shape.fields.len();
        self.push(begin, &shape, |out| {
            extras[..fields].iter().for_each(|extra| write_variable(out, &extra.value));
        });
    }

    /// Adds rows of one shape whose values have fixed lengths, after the `begin` ones before them.
    /// The values of a record are `runs` of its bytes, and the records have `stride` bytes each.
    pub fn extend(
        &mut self,
        begin: usize,
        shape: &Arc<Shape>,
        records: &[u8],
        stride: usize,
        runs: &[Range<usize>],
    ) {
        let code = self.code(shape);
        self.resize(begin);
        let width: usize = runs.iter().map(ExactSizeIterator::len).sum();
        let rows = records.len() / stride;
        self.bytes.reserve(rows * width);
        for record in records.chunks_exact(stride) {
            for run in runs {
                self.bytes.extend_from_slice(&record[run.clone()]);
            }
        }
        self.shape_of.resize(begin + rows, code);
        let end = self.bytes.len() - rows * width;
        self.ends.extend((1..=rows).map(|row| (end + row * width) as u64));
    }

    /// Adds rows that have nothing here, up to `rows` of them all.
    fn resize(&mut self, rows: usize) {
        debug_assert!(self.rows() <= rows, "rows are only added");
        self.shape_of.resize(rows, 0);
        self.ends.resize(rows, self.bytes.len() as u64);
    }

    /// Drops the rows from `rows` on.
    pub fn truncate(&mut self, rows: usize) {
        self.shape_of.truncate(rows);
        self.ends.truncate(rows);
        self.bytes.truncate(self.ends.last().map_or(0, |&end| end as usize));
    }

    /// An empty one with as much room as this one has taken.
    pub(crate) fn another(&self) -> Overflow {
        Overflow {
            shape_of: Vec::with_capacity(self.shape_of.len()),
            ends: Vec::with_capacity(self.ends.len()),
            bytes: Vec::with_capacity(self.bytes.len()),
            ..Overflow::default()
        }
    }

    /// Appends the rows in `range` of another, after the `begin` ones before them.
    pub fn append(&mut self, begin: usize, other: &Overflow, range: Range<usize>) {
        let known = range.start.min(other.rows())..range.end.min(other.rows());
        if other.shape_of[known.clone()].iter().all(|&code| code == 0) {
            return;
        }
        self.resize(begin);
        let mut codes = vec![0; other.shapes.len() + 1];
        for row in known {
            let code = other.shape_of[row] as usize;
            if code != 0 && codes[code] == 0 {
                codes[code] = self.code(&other.shapes[code - 1]);
            }
            self.bytes.extend_from_slice(other.row_bytes(row));
            self.shape_of.push(codes[code]);
            self.ends.push(self.bytes.len() as u64);
        }
    }

    /// The rows at these places, ascending.
    pub(crate) fn pick(&self, rows: &[u32]) -> Overflow {
        let mut picked = Overflow::default();
        for (at, &row) in rows.iter().enumerate() {
            picked.append(at, self, row as usize..row as usize + 1);
        }
        picked
    }

    /// Forgets all rows and keeps the memory.
    pub fn clear(&mut self) {
        self.shapes.clear();
        self.known.clear();
        self.shape_of.clear();
        self.ends.clear();
        self.bytes.clear();
    }

    /// One more than the shape's place, which it is given if it has none.
    fn code(&mut self, shape: &Arc<Shape>) -> u32 {
        // Mostly it is that of the last set.
        if let Some(&last) = self.shape_of.last()
            && last != 0
            && Arc::ptr_eq(&self.shapes[last as usize - 1], shape)
        {
            return last;
        }
        let hash = self.hasher.hash_one(shape);
        let shapes = &self.shapes;
        let same = |&code: &u32| shapes[code as usize - 1] == *shape;
        if let Some(&code) = self.known.find(hash, same) {
            return code;
        }
        self.shapes.push(Arc::clone(shape));
        let code = u32::try_from(self.shapes.len()).expect("a batch has fewer rows");
        let (hasher, shapes) = (&self.hasher, &self.shapes);
        self.known.insert_unique(hash, code, |&code| hasher.hash_one(&shapes[code as usize - 1]));
        code
    }

    /// Appends its bytes for `rows` rows: see [`Overflow::read`].
    pub fn write(&self, rows: usize, out: &mut Vec<u8>) {
        let number = |number: usize| u32::try_from(number).expect("a segment's numbers fit");
        out.extend_from_slice(&number(self.shapes.len()).to_le_bytes());
        for shape in &self.shapes {
            out.extend_from_slice(&number(shape.fields.len()).to_le_bytes());
            for field in &shape.fields {
                out.extend_from_slice(&field.element.enterprise.to_le_bytes());
                out.extend_from_slice(&field.element.id.to_le_bytes());
                out.extend_from_slice(&field.length.to_le_bytes());
            }
        }
        for row in 0..rows {
            let code = self.shape_of.get(row).copied().unwrap_or(0);
            out.extend_from_slice(&code.to_le_bytes());
        }
        for row in 0..rows {
            out.extend_from_slice(&number(self.row_bytes(row).len()).to_le_bytes());
        }
        out.extend_from_slice(&self.bytes);
    }

    /// Reads what [`Overflow::write`] wrote of `rows` rows; whatever the bytes are, every row fits
    /// its shape, or there is none.
    ///
    /// # Errors
    /// What contradicts itself.
    pub fn read(rows: usize, bytes: &[u8]) -> Result<Overflow, &'static str> {
        let mut rest = bytes;
        let mut overflow = Overflow::default();
        for _ in 0..number(&mut rest)? {
            let fields = number(&mut rest)? as usize;
            if fields > MAX_FIELDS || rest.len() < fields * 8 {
                return Err("a shape has more fields than can be");
            }
            let (own, after) = rest.split_at(fields * 8);
            rest = after;
            let field = |bytes: &[u8; 8]| {
                let [a, b, c, d, id @ .., l, m] = *bytes;
                Field {
                    element: ElementId {
                        enterprise: u32::from_le_bytes([a, b, c, d]),
                        id: u16::from_le_bytes(id),
                    },
                    length: u16::from_le_bytes([l, m]),
                }
            };
            overflow.shapes.push(Arc::new(Shape::new(own.as_chunks().0.iter().map(field))));
        }
        if rest.len() / 8 < rows {
            return Err("there are fewer rows than there should be");
        }
        let (codes, after) = rest.split_at(rows * 4);
        let (lengths, bytes) = after.split_at(rows * 4);
        let mut end = 0;
        for (code, length) in codes.as_chunks().0.iter().zip(lengths.as_chunks().0) {
            let (code, length) = (u32::from_le_bytes(*code), u32::from_le_bytes(*length));
            let row = bytes.get(end..end + length as usize).ok_or("a row ends behind the end")?;
            let fits = match code.checked_sub(1) {
                None => row.is_empty(),
                Some(at) => overflow.shapes.get(at as usize).is_some_and(|shape| shape.fits(row)),
            };
            if !fits {
                return Err("a row does not fit its shape");
            }
            end += row.len();
            overflow.shape_of.push(code);
            overflow.ends.push(end as u64);
        }
        if end != bytes.len() {
            return Err("there are more bytes than rows");
        }
        overflow.bytes = bytes.to_vec();
        overflow.know();
        Ok(overflow)
    }

    /// Makes the table of shapes anew.
    fn know(&mut self) {
        self.known.clear();
        let (hasher, shapes) = (&self.hasher, &self.shapes);
        for code in (1..).take(shapes.len()) {
            let hash = |code: u32| hasher.hash_one(&shapes[code as usize - 1]);
            self.known.insert_unique(hash(code), code, |&code| hash(code));
        }
    }
}

/// The next number of four bytes.
fn number(rest: &mut &[u8]) -> Result<u32, &'static str> {
    let (number, after) = rest.split_first_chunk().ok_or("it ends before its shapes do")?;
    *rest = after;
    Ok(u32::from_le_bytes(*number))
}

impl PartialEq for Overflow {
    /// Whether every row has the same elements with the same values.
    fn eq(&self, other: &Overflow) -> bool {
        (0..self.rows().max(other.rows())).all(|row| self.row(row) == other.row(row))
    }
}

impl Eq for Overflow {}

/// The values of one element; see [`Overflow::reader`].
#[derive(Clone, Debug)]
pub struct ElementReader<'a> {
    overflow: &'a Overflow,
    /// Where each shape has the element.
    fields: Box<[Option<usize>]>,
}

impl<'a> ElementReader<'a> {
    /// Whether some shape has the element.
    pub fn is_some(&self) -> bool {
        self.fields.iter().any(Option::is_some)
    }

    /// The element's value in a row.
    pub fn value(&self, row: usize) -> Option<&'a [u8]> {
        let code = *self.overflow.shape_of.get(row)?;
        let at = code.checked_sub(1)? as usize;
        let field = (*self.fields.get(at)?)?;
        self.overflow.shapes[at].value(field, self.overflow.row_bytes(row))
    }
}

/// Appends a value of variable length behind its length (RFC 7011, Section 7).
///
/// # Panics
/// When it has more than 65,535 bytes, which no record can hold.
pub fn write_variable(out: &mut Vec<u8>, value: &[u8]) {
    let length = u16::try_from(value.len()).expect("a value lies in a record");
    match u8::try_from(length) {
        Ok(short) if short != 0xff => out.push(short),
        _ => {
            out.push(0xff);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: ElementId = ElementId { enterprise: 9, id: 12235 };
    const COUNT: ElementId = ElementId { enterprise: 0, id: 3 };

    fn fixed() -> Arc<Shape> {
        Arc::new(Shape::new([
            Field { element: COUNT, length: 2 },
            Field { element: NAME, length: 1 },
        ]))
    }

    fn variable() -> Arc<Shape> {
        Arc::new(Shape::new([
            Field { element: NAME, length: VARIABLE_LENGTH },
            Field { element: COUNT, length: 1 },
        ]))
    }

    /// Row 0 has nothing, 1 and 2 are of one record each, 3 is of variable length.
    fn sample() -> Overflow {
        let mut overflow = Overflow::default();
        let records = [9, 1, 2, b'a', 9, 3, 4, b'b'];
        overflow.extend(1, &fixed(), &records, 4, std::slice::from_ref(&(1..4)));
        overflow.push(3, &variable(), |out| {
            write_variable(out, b"three");
            out.push(7);
        });
        overflow
    }

    #[test]
    fn every_row_has_its_own_elements() {
        let overflow = sample();
        let values =
            |row| overflow.elements(row).map(|(e, v)| (e.id, v.to_vec())).collect::<Vec<_>>();
        assert_eq!(values(0), []);
        assert_eq!(values(2), [(3, vec![3, 4]), (12235, b"b".to_vec())]);
        assert_eq!(values(3), [(12235, b"three".to_vec()), (3, vec![7])]);
        assert_eq!(values(4), []);
        let names = overflow.reader(NAME);
        let names: Vec<_> = (0..5).map(|row| names.value(row)).collect();
        assert_eq!(names, [None, Some(&b"a"[..]), Some(b"b"), Some(b"three"), None]);
        assert!(!overflow.reader(ElementId { enterprise: 1, id: 1 }).is_some());
    }

    #[test]
    fn equal_shapes_of_two_templates_are_one() {
        let mut overflow = sample();
        overflow.push(4, &fixed(), |out| out.extend([0, 1, b'x']));
        assert_eq!(overflow.shapes().len(), 2);
    }

    #[test]
    fn rows_can_be_taken_back_and_appended_elsewhere() {
        let mut overflow = sample();
        overflow.truncate(2);
        assert_eq!((overflow.rows(), overflow.bytes()), (2, 3));
        overflow.append(5, &sample(), 3..9);
        assert_eq!(overflow.rows(), 6);
        assert_eq!(overflow.row(5), sample().row(3));
        assert_eq!(overflow.row(3), None);
        overflow.append(6, &sample(), 0..1);
        assert_eq!(overflow.rows(), 6, "nothing is to be said of that row");
    }

    #[test]
    fn what_is_written_comes_back_whatever_was_damaged() {
        let mut bytes = Vec::new();
        sample().write(6, &mut bytes);
        assert_eq!(Overflow::read(6, &bytes).unwrap(), sample());
        for at in 0..bytes.len() {
            Overflow::read(6, &bytes[..at]).unwrap_err();
            let mut changed = bytes.clone();
            changed[at] ^= 0x41;
            if let Ok(read) = Overflow::read(6, &changed) {
                (0..6).for_each(|row| read.elements(row).for_each(drop));
            }
        }
    }

    #[test]
    fn a_long_value_has_a_length_of_three_bytes() {
        let mut bytes = Vec::new();
        write_variable(&mut bytes, &[1; 255]);
        assert_eq!((bytes.len(), &bytes[..3]), (258, &[0xff, 0, 255][..]));
        assert!(Shape::new([Field { element: NAME, length: VARIABLE_LENGTH }]).fits(&bytes));
    }
}

//! Rows as one string of bytes, made in a hurry: the columns packed, without a dictionary, for a
//! file that lives some seconds.

use std::ops::Range;

use super::codec::Codec;
use super::fields::Fields;
use super::write::{append_addresses, append_numbers, overflow_of};
use super::{MAX_ROWS, OVERFLOW, Whole, array};
use crate::column::Values;
use crate::overflow::Overflow;
use crate::{Address, Batch, Column};

/// The columns of `rows` of `batches`, which are counted through.
pub(crate) fn write(batches: &[&Batch], rows: Range<usize>) -> Vec<u8> {
    let mut out = Vec::with_capacity(rows.len() * 64);
    out.extend_from_slice(&(rows.len() as u32).to_le_bytes());
    let mut codec = Codec::new(false);
    let mut values: Vec<u64> = Vec::with_capacity(rows.len());
    for &column in Column::ALL.iter().filter(|column| batches.iter().any(|b| b.has(**column))) {
        out.extend_from_slice(&(column as u16).to_le_bytes());
        if column.width() == size_of::<Address>() {
            let mut addresses = Vec::with_capacity(rows.len());
            append_addresses(batches, column, rows.clone(), &mut addresses);
            for shift in [64, 0] {
                let half = |address: &Address| (u128::from_be_bytes(address.0) >> shift) as u64;
                values.clear();
                values.extend(addresses.iter().map(half));
                array::write(&values, &mut codec, &mut out);
            }
        } else {
            values.clear();
            append_numbers(batches, column, rows.clone(), &mut values);
            array::write(&values, &mut codec, &mut out);
        }
    }
    let overflow = overflow_of(batches, rows.clone());
    if !overflow.is_empty() {
        out.extend_from_slice(&OVERFLOW.to_le_bytes());
        let mut plain = Vec::new();
        overflow.write(rows.len(), &mut plain);
        out.extend_from_slice(&(plain.len() as u64).to_le_bytes());
        out.extend_from_slice(&plain);
    }
    out
}

/// The rows of a frame.
pub(crate) fn read(bytes: &[u8]) -> Whole<Batch> {
    let mut fields = Fields(bytes);
    let rows = fields.u32()? as usize;
    if rows > MAX_ROWS {
        return Err("it claims an impossible number of rows");
    }
    let mut batch = Batch::default();
    while !fields.0.is_empty() {
        let number = fields.u16()?;
        if number == OVERFLOW {
            let length = fields.size()?;
            batch.overflow = Overflow::read(rows, fields.take(length)?)?;
            continue;
        }
        let number = u8::try_from(number).ok().and_then(Column::from_number);
        let column = number.ok_or("it has an unknown column")?;
        let values = match column.width() {
            1 => Values::U8(numbers(&mut fields, rows)?.into()),
            2 => Values::U16(numbers(&mut fields, rows)?.into()),
            4 => Values::U32(numbers(&mut fields, rows)?.into()),
            8 => Values::U64(numbers(&mut fields, rows)?.into()),
            _ => {
                let highs: Vec<u64> = numbers(&mut fields, rows)?;
                let lows: Vec<u64> = numbers(&mut fields, rows)?;
                let address = |(high, low): (u64, u64)| {
                    Address((u128::from(high) << 64 | u128::from(low)).to_be_bytes())
                };
                let addresses: Vec<Address> = highs.into_iter().zip(lows).map(address).collect();
                Values::Address(addresses.into())
            }
        };
        batch.put(column, values);
    }
    batch.fill(rows);
    Ok(batch)
}

fn numbers<T: super::pack::Number>(fields: &mut Fields<'_>, rows: usize) -> Whole<Vec<T>> {
    let mut values = Vec::new();
    array::read(fields, rows, &mut values)?;
    Ok(values)
}

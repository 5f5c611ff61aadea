//! Requests and answers of Modbus TCP, as bytes.
//!
//! After "MODBUS Messaging on TCP/IP Implementation Guide" V1.0b, section 3.1
//! (the header), and "MODBUS Application Protocol Specification" V1.1b3, sections
//! 6.1 to 6.4 (reading) and 7 (exceptions), of modbus.org. How two registers make
//! one value is no part of either: vendors differ, and the configuration tells.

use super::ModbusError;
use crate::config::{ModbusPoint, ModbusTable, ModbusType, WordOrder};

/// Transaction, protocol, length of what follows, unit.
pub(super) const HEADER_LEN: usize = 7;
/// Function and data are no longer than this.
const BODY_LEN_MAX: usize = 253;
/// Set in the function of an answer that is an exception.
const EXCEPTION: u8 = 0x80;

pub(super) fn request(transaction: u16, point: &ModbusPoint) -> [u8; 12] {
    let ([t0, t1], [r0, r1]) = (transaction.to_be_bytes(), point.register.to_be_bytes());
    let [c0, c1] = point.table.count().to_be_bytes();
    [t0, t1, 0, 0, 0, 6, point.unit_id, function(point.table), r0, r1, c0, c1]
}

fn function(table: ModbusTable) -> u8 {
    match table {
        ModbusTable::Coil => 1,
        ModbusTable::Discrete => 2,
        ModbusTable::Holding(_) => 3,
        ModbusTable::Input(_) => 4,
    }
}

#[derive(Clone, Copy)]
pub(super) struct Header {
    transaction: u16,
    protocol: u16,
    len: u16,
    unit_id: u8,
}

impl Header {
    pub(super) fn read([t0, t1, p0, p1, l0, l1, unit_id]: [u8; HEADER_LEN]) -> Self {
        let [transaction, protocol, len] = [[t0, t1], [p0, p1], [l0, l1]].map(u16::from_be_bytes);
        Self { transaction, protocol, len, unit_id }
    }

    /// How long the rest is; none when it does not belong to the request.
    pub(super) fn body_len(self, transaction: u16, point: &ModbusPoint) -> Option<usize> {
        let fits =
            (self.transaction, self.protocol, self.unit_id) == (transaction, 0, point.unit_id);
        // The unit counts, and was read.
        let len = usize::from(self.len).checked_sub(1)?;
        (fits && (2..=BODY_LEN_MAX).contains(&len)).then_some(len)
    }
}

/// What the rest of an answer says.
pub(super) fn value(body: &[u8], point: &ModbusPoint) -> Result<f64, ModbusError> {
    let function = function(point.table);
    match *body {
        [said, code] if said == function | EXCEPTION => Err(ModbusError::Exception(code)),
        [said, len, ref data @ ..] if said == function && usize::from(len) == data.len() => {
            let number = number(data, point.table).ok_or(ModbusError::Odd)?;
            Some(number).filter(|number| number.is_finite()).ok_or(ModbusError::NoNumber)
        }
        _ => Err(ModbusError::Odd),
    }
}

fn number(data: &[u8], table: ModbusTable) -> Option<f64> {
    let number = match (table, data) {
        (ModbusTable::Coil | ModbusTable::Discrete, &[bits]) => return Some(f64::from(bits & 1)),
        (ModbusTable::Holding(number) | ModbusTable::Input(number), _) => number,
        _ => return None,
    };
    match (number, data) {
        (ModbusType::U16, &[a, b]) => Some(f64::from(u16::from_be_bytes([a, b]))),
        (ModbusType::I16, &[a, b]) => Some(f64::from(i16::from_be_bytes([a, b]))),
        (ModbusType::U32(order), _) => Some(f64::from(u32::from_be_bytes(ordered(data, order)?))),
        (ModbusType::I32(order), _) => Some(f64::from(i32::from_be_bytes(ordered(data, order)?))),
        (ModbusType::F32(order), _) => Some(f64::from(f32::from_be_bytes(ordered(data, order)?))),
        _ => None,
    }
}

/// With the high word first.
fn ordered(data: &[u8], order: WordOrder) -> Option<[u8; 4]> {
    let &[a, b, c, d] = data else { return None };
    Some(match order {
        WordOrder::Big => [a, b, c, d],
        WordOrder::Little => [c, d, a, b],
    })
}

/// The specification's word for an exception, after a space.
pub(super) fn exception(code: u8) -> &'static str {
    match code {
        1 => " (illegal function)",
        2 => " (illegal data address)",
        3 => " (illegal data value)",
        4 => " (server device failure)",
        5 => " (acknowledge)",
        6 => " (server device busy)",
        8 => " (memory parity error)",
        10 => " (gateway path unavailable)",
        11 => " (gateway target device failed to respond)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const F32_BIG: ModbusType = ModbusType::F32(WordOrder::Big);

    fn point(table: ModbusTable) -> ModbusPoint {
        ModbusPoint { unit_id: 17, table, register: 0x0203 }
    }

    #[test]
    fn a_request_is_a_header_a_function_a_register_and_how_many() {
        for (table, function, count) in [
            (ModbusTable::Coil, 1, 1),
            (ModbusTable::Discrete, 2, 1),
            (ModbusTable::Holding(ModbusType::I16), 3, 1),
            (ModbusTable::Input(F32_BIG), 4, 2),
        ] {
            let expected = [1, 44, 0, 0, 0, 6, 17, function, 2, 3, 0, count];
            assert_eq!(request(300, &point(table)), expected, "{table:?}");
        }
    }

    #[test]
    fn a_header_that_belongs_to_another_request_or_is_too_long_is_refused() {
        let point = point(ModbusTable::Coil);
        let len = |bytes| Header::read(bytes).body_len(300, &point);
        assert_eq!(len([1, 44, 0, 0, 0, 4, 17]), Some(3));
        assert_eq!(len([1, 44, 0, 0, 0, 254, 17]), Some(253));
        for wrong in [
            [1, 43, 0, 0, 0, 4, 17],
            [1, 44, 0, 1, 0, 4, 17],
            [1, 44, 0, 0, 0, 4, 18],
            [1, 44, 0, 0, 0, 0, 17],
            [1, 44, 0, 0, 0, 2, 17],
            [1, 44, 0, 0, 0, 255, 17],
            [1, 44, 0, 0, 255, 255, 17],
        ] {
            assert_eq!(len(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn each_type_is_read_in_its_word_order() {
        use ModbusTable::{Coil, Discrete, Holding, Input};
        use ModbusType::{F32, I16, I32, U16, U32};
        use WordOrder::{Big, Little};
        for (table, body, expected) in [
            (Coil, &[1, 1, 0xff][..], 1.0),
            (Discrete, &[2, 1, 0xfe], 0.0),
            (Holding(U16), &[3, 2, 0xff, 0xfe], 65_534.0),
            (Input(I16), &[4, 2, 0xff, 0xfe], -2.0),
            (Holding(U32(Big)), &[3, 4, 0xff, 0xff, 0, 1], 4_294_901_761.0),
            (Holding(U32(Little)), &[3, 4, 0, 1, 0xff, 0xff], 4_294_901_761.0),
            (Input(I32(Big)), &[4, 4, 0xff, 0xff, 0xff, 0xfe], -2.0),
            (Input(I32(Little)), &[4, 4, 0xff, 0xfe, 0xff, 0xff], -2.0),
            (Holding(F32(Big)), &[3, 4, 0x41, 0xac, 0, 0], 21.5),
            (Holding(F32(Little)), &[3, 4, 0, 0, 0x41, 0xac], 21.5),
        ] {
            assert_eq!(value(body, &point(table)).unwrap(), expected, "{table:?} {body:?}");
        }
    }

    #[test]
    fn an_answer_of_another_shape_is_no_reading() {
        let float = point(ModbusTable::Holding(F32_BIG));
        let said = |body: &[u8]| value(body, &float).unwrap_err().to_string();
        let exception = "it answered with exception 2 (illegal data address)";
        assert_eq!(said(&[0x83, 2]), exception);
        assert_eq!(said(&[0x83, 99]), "it answered with exception 99");
        let nan = [3, 4, 0x7f, 0xc0, 0, 0];
        assert_eq!(said(&nan), "it answered with what is no number");
        for odd in [&[4, 4, 0, 0, 0, 0][..], &[3, 2, 0, 0], &[3, 4, 0, 0], &[0x84, 2], &[3, 0]] {
            assert!(matches!(value(odd, &float), Err(ModbusError::Odd)), "{odd:?}");
        }
        let coil = value(&[1, 2, 0, 0], &point(ModbusTable::Coil));
        assert!(matches!(coil, Err(ModbusError::Odd)));
    }
}

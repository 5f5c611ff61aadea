//! `[[sensor]] kind = "modbus"`: which value of which device, and how it is written.
//!
//! Invariant: a value that needs two registers has two, and one that cannot be a
//! number of a type is given none.

use super::probe::address;
use super::reader::Section;
use super::typed::{MINUTE, SECOND};
use super::{ModbusPoint, ModbusTable, ModbusType, SensorKind, WordOrder, value};

/// What [`modbus`] asks for, besides the timeout.
pub(super) const KEYS: [&str; 6] =
    ["address", "unit_id", "table", "register", "type", "word_order"];

const REGISTERS: &str = "a whole number from 0 to 65535";
const TABLES: &str = "one of holding, input, coil, discrete";
const TYPES: &str = "one of u16, i16, u32, i32, f32";

pub(super) fn modbus(section: &mut Section<'_>) -> SensorKind {
    let address = address(section);
    let unit_id = section.integer("unit_id", 1, 0..=u8::MAX);
    let table = table(section);
    let point = ModbusPoint { unit_id, table, register: register(section, table) };
    let timeout_ms = section.duration("timeout", SECOND, 10..=MINUTE);
    SensorKind::Modbus { address, point, timeout_ms }
}

#[derive(Clone, Copy)]
enum TableWord {
    Bit(ModbusTable),
    Number(fn(ModbusType) -> ModbusTable),
}

fn table(section: &mut Section<'_>) -> ModbusTable {
    let words = [
        ("holding", TableWord::Number(ModbusTable::Holding)),
        ("input", TableWord::Number(ModbusTable::Input)),
        ("coil", TableWord::Bit(ModbusTable::Coil)),
        ("discrete", TableWord::Bit(ModbusTable::Discrete)),
    ];
    match need(section, "table", TABLES, &words) {
        Some(TableWord::Number(table)) => table(number(section)),
        Some(TableWord::Bit(table)) => {
            for key in ["type", "word_order"] {
                unwanted(section, key, "a coil and a discrete input are 0 or 1");
            }
            table
        }
        None => {
            section.ignore(&["type", "word_order"]);
            ModbusTable::Coil
        }
    }
}

#[derive(Clone, Copy)]
enum TypeWord {
    Short(ModbusType),
    Long(fn(WordOrder) -> ModbusType),
}

fn number(section: &mut Section<'_>) -> ModbusType {
    let words = [
        ("u16", TypeWord::Short(ModbusType::U16)),
        ("i16", TypeWord::Short(ModbusType::I16)),
        ("u32", TypeWord::Long(ModbusType::U32)),
        ("i32", TypeWord::Long(ModbusType::I32)),
        ("f32", TypeWord::Long(ModbusType::F32)),
    ];
    match need(section, "type", TYPES, &words) {
        Some(TypeWord::Long(long)) => {
            section.default("word_order", "big");
            let orders = [("big", WordOrder::Big), ("little", WordOrder::Little)];
            long(section.choice("word_order", &orders).unwrap_or(WordOrder::Big))
        }
        Some(TypeWord::Short(short)) => {
            unwanted(section, "word_order", "one register has one word");
            short
        }
        None => {
            section.ignore(&["word_order"]);
            ModbusType::U16
        }
    }
}

fn register(section: &mut Section<'_>, table: ModbusTable) -> u16 {
    if !section.has("register") {
        let hint = "as on the wire, from zero: what a manual calls 40001 is holding register 0";
        section.note("register", REGISTERS, "nothing", hint);
    }
    let register = section.integer_opt("register", 0..=u16::MAX).unwrap_or(0);
    if register.checked_add(table.count() - 1).is_none() {
        let hint = "a value of 32 bits takes this register and the next";
        section.note("register", "a whole number from 0 to 65534", register.to_string(), hint);
    }
    register
}

/// One word of a few that has no default.
fn need<T: Copy>(
    section: &mut Section<'_>,
    key: &str,
    wanted: &str,
    words: &[(&str, T)],
) -> Option<T> {
    if !section.has(key) {
        section.note(key, wanted, "nothing", "");
    }
    section.choice(key, words)
}

fn unwanted(section: &mut Section<'_>, key: &str, why: &str) {
    if let Some(text) = section.text(key) {
        section.note(key, format!("no {key} here"), value::quoted(&text.value), why);
    }
}

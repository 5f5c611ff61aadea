//! Maintenance windows, as a person writes them.

use jiff::tz::TimeZone;

use super::reader::Section;
use super::typed::Named;
use super::{WindowConfig, value};

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY_MIN: u16 = 24 * 60;

pub(super) fn window(section: &mut Section<'_>) -> Named<WindowConfig> {
    let name = section.need_name("name");
    let (from_min, to_min) = (clock(section, "from"), clock(section, "to"));
    if from_min == to_min && section.has("from") && section.has("to") {
        let hint = "a whole day is from = \"00:00\", to = \"24:00\"";
        section.note("to", "another time than from", "the same", hint);
    }
    let what = WindowConfig {
        name: name.value.clone(),
        days: days(section),
        from_min,
        to_min,
        zone: zone(section),
        disruption: section.integer("disruption", 1, 1..=3),
    };
    Named { name, what }
}

/// Every day when none is named.
fn days(section: &mut Section<'_>) -> [bool; 7] {
    let Some(named) = section.texts("days") else {
        section.default("days", DAYS.to_vec());
        return [true; 7];
    };
    let mut days = [false; 7];
    for day in &named {
        match DAYS.iter().position(|known| *known == day.value) {
            Some(at) => days[at] = true,
            None => {
                let wanted = format!("days: {}", DAYS.join(", "));
                let found = value::quoted(&day.value);
                section.doc.note(day.offset, &section.at("days"), wanted, found, None);
            }
        }
    }
    if named.is_empty() {
        section.note("days", "at least one day", "none", "leave it out for every day");
    }
    days
}

/// `HH:MM`, as minutes since midnight.
fn clock(section: &mut Section<'_>, key: &str) -> u16 {
    let wanted = "a time of day from 00:00 to 24:00";
    let text = section.need_text(key, wanted, "such as \"22:30\"");
    let parsed = || {
        let (hour, minute) = text.value.split_once(':')?;
        let two = |word: &str| (word.len() == 2).then(|| word.parse::<u16>().ok()).flatten();
        let (hour, minute) = (two(hour)?, two(minute).filter(|minute| *minute < 60)?);
        Some(hour * 60 + minute).filter(|minutes| *minutes <= DAY_MIN)
    };
    parsed().unwrap_or_else(|| {
        if section.has(key) {
            section.note(key, wanted, value::quoted(&text.value), "such as \"22:30\"");
        }
        0
    })
}

/// A name of the system's time zone database; UTC when it is left out.
fn zone(section: &mut Section<'_>) -> TimeZone {
    section.default("zone", "UTC");
    let Some(name) = section.text("zone").filter(|name| name.value != "UTC") else {
        return TimeZone::UTC;
    };
    TimeZone::get(&name.value).unwrap_or_else(|_| {
        let hint = "such as Europe/Berlin; the box needs the package tzdata";
        let wanted = "a time zone of this box's database";
        section.note("zone", wanted, value::quoted(&name.value), hint);
        TimeZone::UTC
    })
}

//! `[bus]`: the broker, and who we are to it; `[[sensor]] kind = "mqtt"`.

use super::probe::address;
use super::reader::Section;
use super::secret::{self, SecretOwner};
use super::source::pointer;
use super::typed::{HOUR, SECOND};
use super::{BusConfig, SensorKind, value};

/// What [`bus`] asks for, besides the address.
const KEYS: [&str; 5] = ["client_id", "username", "password_file", "keep_alive_s", "keep_alive_ms"];
/// MQTT's own bound.
const TOPIC_BYTES_MAX: usize = 65_535;

/// None where the file names no broker.
pub(super) fn bus(section: &mut Section<'_>, box_name: &str) -> Option<BusConfig> {
    if !section.has("address") {
        section.ignore(&["address"]);
        section.ignore(&KEYS);
        if let Some(key) = KEYS.iter().find(|key| section.has(key)) {
            let hint = format!("{key} means nothing without it");
            section.note("address", "HOST:PORT of the broker", "nothing", hint);
        }
        return None;
    }
    let address = address(section);
    let client_id = section.text("client_id").map(|text| text.value);
    let ours = format!("homeostat-{box_name}");
    section.default("client_id", ours.as_str());
    if client_id.as_deref().is_some_and(|id| id.is_empty() || id.contains('\0')) {
        section.note("client_id", "a name that no other client of the broker has", "\"\"", "");
    }
    let username = section.text("username").map(|text| text.value);
    if let Some(file) = section.text("password_file") {
        let file = section.doc.resolve(&file.value);
        section.amend_path("password_file", &file);
        if username.is_none() {
            let hint = "a broker asks for both";
            section.note("username", "the name that the password belongs to", "nothing", hint);
        }
        secret::declare(section, SecretOwner::Bus, "password", file);
    }
    Some(BusConfig {
        address,
        client_id: client_id.unwrap_or(ours),
        username,
        password: None,
        keep_alive_ms: section.duration("keep_alive", 30 * SECOND, 5 * SECOND..=HOUR),
    })
}

/// One topic is one series, so it holds no wildcard.
pub(super) fn mqtt(section: &mut Section<'_>) -> SensorKind {
    const WANTED: &str = "an MQTT topic, such as line/3/press/pressure";
    let topic = section.need_text("topic", WANTED, "").value;
    let wrong = match topic.as_str() {
        "" => Some("it is empty"),
        it if it.contains(['+', '#']) => Some("one topic for each sensor; name it whole"),
        it if it.contains('\0') || it.len() > TOPIC_BYTES_MAX => Some("MQTT allows no such topic"),
        _ => None,
    };
    if section.has("topic")
        && let Some(hint) = wrong
    {
        section.note("topic", WANTED, value::quoted(&topic), hint);
    }
    SensorKind::Mqtt { topic, pointer: pointer(section) }
}

//! Texts and numbers of the file: what they mean, and how to name them back.
//!
//! Invariant: pure; each function knows one notation and nothing of sections.

use std::ops::RangeInclusive;

use base64::Engine as _;
use toml::de::DeValue;

const NAME_LEN_MAX: usize = 64;
pub(super) const NAME_WANTED: &str = "a name of a-z, 0-9 and -, at most 64";

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Millis,
}

/// A value in words, for "found …".
pub(super) fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quoted(text),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(date) => format!("the date {date}"),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

/// A text in quotes, its end cut off when it is long.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN_MAX: usize = 60;
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

pub(super) fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("names are how status, routes and commands refer to things".into());
    }
    if name.len() > NAME_LEN_MAX {
        return Err(format!("it has {} characters", name.chars().count()));
    }
    match name.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
        Some(c) => Err(format!("{c:?} is not among them")),
        None => Ok(()),
    }
}

/// What a key that stands in the wrong section should have been.
pub(super) fn belongs_elsewhere(place: &str, key: &str) -> Option<String> {
    let home = match key {
        "route" | "routes" => "incident.route",
        "explains" => "incident.explains",
        "probe" | "probes" => "workload.probe",
        "publishers" | "publisher" => "trust.publishers",
        "workloads" => "workload",
        "plugins" => "plugin",
        "externals" => "external",
        "logs" => "log",
        "links" => "link",
        "sensors" => "sensor",
        _ => return None,
    };
    let list = if key == "explains" { format!("[{home}]") } else { format!("[[{home}]]") };
    (place.is_empty()).then(|| format!("write {list}"))
}

pub(super) fn integer(value: &DeValue<'_>) -> Option<i64> {
    let DeValue::Integer(number) = value else { return None };
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

pub(super) fn number(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Float(number) => number.as_str().parse().ok(),
        value => integer(value).map(|number| number as f64),
    }
}

pub(super) fn duration_ms(value: &DeValue<'_>, unit: Unit) -> Option<u64> {
    match (value, unit) {
        (DeValue::Integer(_), Unit::Seconds) => {
            u64::try_from(integer(value)?).ok()?.checked_mul(1000)
        }
        (DeValue::Integer(_), Unit::Millis) => u64::try_from(integer(value)?).ok(),
        (DeValue::Float(number), Unit::Seconds) => {
            let seconds: f64 = number.as_str().parse().ok()?;
            // Beyond 2^53 ms (285,000 years) a fraction means nothing.
            (0.0..9.0e12).contains(&seconds).then(|| (seconds * 1000.0).round() as u64)
        }
        _ => None,
    }
}

pub(super) fn duration_range(range_ms: &RangeInclusive<u64>, unit: Unit) -> String {
    let (low, high) = (*range_ms.start(), *range_ms.end());
    match unit {
        Unit::Millis => format!("a whole number of milliseconds from {low} to {high}"),
        Unit::Seconds => {
            format!("a number of seconds from {} to {}", low as f64 / 1000.0, high as f64 / 1000.0)
        }
    }
}

pub(super) fn size(value: &DeValue<'_>) -> Option<u64> {
    let DeValue::String(text) = value else {
        return u64::try_from(integer(value)?).ok();
    };
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = match unit.trim() {
        "" | "B" => 1,
        "KiB" => KIB,
        "MiB" => MIB,
        "GiB" => GIB,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(scale)
}

pub(super) fn size_text(bytes: u64) -> String {
    for (scale, unit) in [(GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")] {
        if bytes >= scale && bytes.is_multiple_of(scale) {
            return format!("{}{unit}", bytes / scale);
        }
    }
    format!("{bytes}B")
}

/// A key as TOML has it: bare where it can be.
pub(super) fn key(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let is_bare = !key.is_empty() && key.chars().all(bare);
    if is_bare { key.to_owned() } else { serde_json::Value::from(key).to_string() }
}

/// As JSON; the error says what JSON has no word for.
pub(super) fn json(value: &DeValue<'_>) -> Result<serde_json::Value, String> {
    use serde_json::Value as Json;
    Ok(match value {
        DeValue::String(text) => Json::String(text.clone().into_owned()),
        DeValue::Integer(number) => {
            Json::from(integer(value).ok_or_else(|| format!("{number}, beyond 64 bits"))?)
        }
        DeValue::Float(number) => number
            .as_str()
            .parse()
            .ok()
            .and_then(serde_json::Number::from_f64)
            .map(Json::Number)
            .ok_or_else(|| number.to_string())?,
        DeValue::Boolean(flag) => Json::Bool(*flag),
        DeValue::Datetime(date) => Json::String(date.to_string()),
        DeValue::Array(items) => {
            Json::Array(items.iter().map(|item| json(item.get_ref())).collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => Json::Object(
            table
                .iter()
                .map(|(key, item)| Ok((key.get_ref().to_string(), json(item.get_ref())?)))
                .collect::<Result<_, String>>()?,
        ),
    })
}

/// 32 bytes in hex or base64 (standard or URL alphabet, padded or not).
pub(super) fn bytes32(text: &str) -> Option<[u8; 32]> {
    use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
    let text = text.trim();
    if text.len() == 64 {
        return unhex(text)?.try_into().ok();
    }
    let bare = text.trim_end_matches('=');
    let bytes = STANDARD_NO_PAD.decode(bare).or_else(|_| URL_SAFE_NO_PAD.decode(bare)).ok()?;
    bytes.try_into().ok()
}

/// A SHA-256 in lower-case hex, from `sha256:HEX` or `HEX`.
pub(super) fn digest(text: &str) -> Option<String> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    (hex.len() == 64 && unhex(hex).is_some()).then(|| hex.to_ascii_lowercase())
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    // `from_str_radix` takes a sign; hex has none.
    if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()).collect()
}

/// `HOST:PORT`; an IPv6 host in brackets.
pub(super) fn check_address(text: &str) -> Result<(), String> {
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err("it has no :PORT".into());
    };
    match port.parse::<u16>() {
        Ok(0) | Err(_) => return Err("a port is a number from 1 to 65535".into()),
        Ok(_) => {}
    }
    let bracketed = host.starts_with('[') && host.ends_with(']');
    match host {
        "" => Err("it has no host; 127.0.0.1 is this box".into()),
        _ if host.contains(':') && !bracketed => {
            Err("write an IPv6 address in brackets: [::1]:8000".into())
        }
        _ => Ok(()),
    }
}

/// What the kernel takes as the name of a network interface.
pub(super) fn check_interface(text: &str) -> Result<(), String> {
    const LEN_MAX: usize = 15;
    if text.is_empty() || text.len() > LEN_MAX {
        return Err(format!("the kernel takes 1 to {LEN_MAX} bytes"));
    }
    let odd = |c: char| c == '/' || c == ':' || c.is_whitespace();
    match text.chars().find(|c| odd(*c)) {
        Some(c) => Err(format!("the kernel takes no {c:?}")),
        None if text == "." || text == ".." => Err("that is a folder".into()),
        None => Ok(()),
    }
}

/// `http://HOST[:PORT]/PATH`. The error is a hint.
pub(super) fn check_url(text: &str) -> Result<(), String> {
    let Some(rest) = text.strip_prefix("http://") else {
        return Err(if text.starts_with("https://") {
            "no TLS is spoken here; use the server's plain local port".into()
        } else {
            "it begins with http://".into()
        });
    };
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("it has a blank or a control character; write %20".into());
    }
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("a name and password go into headers".into());
    }
    // Without a port it is 80.
    let explicit = authority.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let address = if explicit { authority.to_owned() } else { format!("{authority}:80") };
    check_address(&address)?;
    text.parse::<hyper::Uri>().map(|_| ()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_digests_are_read_in_each_notation_and_nothing_else() {
        let hex = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        let key = bytes32(hex).unwrap();
        assert_eq!(bytes32("11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"), Some(key));
        assert_eq!(bytes32("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"), Some(key));
        for bad in ["", "zz", &hex[..62], "€".repeat(22).as_str(), &"g".repeat(64)] {
            assert_eq!(bytes32(bad), None, "{bad}");
        }
        assert_eq!(digest(&format!("sha256:{}", hex.to_uppercase())).as_deref(), Some(hex));
        assert_eq!(digest(hex).as_deref(), Some(hex));
        assert_eq!(digest(&format!("md5:{hex}")), None);
    }

    #[test]
    fn an_address_that_cannot_be_dialled_is_refused_with_a_reason() {
        for (url, word) in [
            ("http://127.0.0.1:8000/v2/health/ready", ""),
            ("http://[::1]:8000/", ""),
            ("http://localhost", ""),
            ("https://localhost/", "no TLS"),
            ("localhost:8000", "begins with http://"),
            ("http://:8000/", "no host"),
            ("http://host:0/", "from 1 to 65535"),
            ("http://host:80000/", "from 1 to 65535"),
            ("http://::1/", "brackets"),
            ("http://host/a b", "%20"),
            ("http://anna:x@host/", "headers"),
        ] {
            let error = check_url(url).err().unwrap_or_default();
            assert!(error.contains(word) && error.is_empty() == word.is_empty(), "{url}: {error}");
        }
    }

    #[test]
    fn sizes_are_named_back_as_they_are_typed() {
        for (text, bytes) in [("64MiB", 64 * MIB), ("1KiB", KIB), ("3 GiB", 3 * GIB), ("7", 7)] {
            assert_eq!(size(&DeValue::String(text.into())), Some(bytes), "{text}");
        }
        for text in ["64MB", "MiB", "-1", "1.5MiB", "99999999999GiB"] {
            assert_eq!(size(&DeValue::String(text.into())), None, "{text}");
        }
        assert_eq!(size_text(16 * MIB), "16MiB");
        assert_eq!(size_text(1000), "1000B");
    }
}

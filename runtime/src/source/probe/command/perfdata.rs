//! Numbers that a check writes behind a bar, as the guidelines for monitoring
//! plugins have them: `'label'=value[UOM];[warn];[crit];[min];[max]`
//! (<https://www.monitoring-plugins.org/doc/guidelines.html>, "Performance data").
//!
//! Invariant: pure. Times come out as seconds, percentages as ratios, sizes as
//! bytes; what does not read is passed over.

/// Of every label in `output`, each value once.
pub(super) fn numbers(output: &str) -> Vec<(String, f64)> {
    let mut numbers: Vec<(String, f64)> = Vec::new();
    let perfdata = output.lines().filter_map(|line| line.split_once('|'));
    for (_, mut rest) in perfdata {
        while let Some((label, value, behind)) = next(rest) {
            rest = behind;
            let known = numbers.iter().any(|(known, _)| *known == label);
            if let Some(value) = value.filter(|_| !known) {
                numbers.push((label, value));
            }
        }
    }
    numbers
}

/// The next label, its value and what is behind it.
fn next(text: &str) -> Option<(String, Option<f64>, &str)> {
    let text = text.trim_start();
    let (label, behind) = match text.strip_prefix('\'') {
        Some(quoted) => quoted_label(quoted)?,
        None => {
            let (label, behind) = text.split_once('=')?;
            (label.to_owned(), behind)
        }
    };
    let end = behind.find(char::is_whitespace).unwrap_or(behind.len());
    let (value, rest) = behind.split_at(end);
    Some((label, number(value.split(';').next()?), rest))
}

/// Up to its closing quote and `=`; two quotes stand for one.
fn quoted_label(text: &str) -> Option<(String, &str)> {
    let mut label = String::new();
    let mut rest = text;
    loop {
        let (before, behind) = rest.split_once('\'')?;
        label.push_str(before);
        match behind.strip_prefix('\'') {
            Some(more) => {
                label.push('\'');
                rest = more;
            }
            None => return Some((label, behind.strip_prefix('=')?)),
        }
    }
}

fn number(text: &str) -> Option<f64> {
    let end = text.find(|c: char| c.is_ascii_alphabetic() || c == '%').unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let value: f64 = digits.parse().ok().filter(|value: &f64| value.is_finite())?;
    let factor = match unit {
        "ms" => 1e-3,
        "us" => 1e-6,
        "%" => 0.01,
        "KB" => 1024.0,
        "MB" => 1024.0 * 1024.0,
        "GB" => 1024.0 * 1024.0 * 1024.0,
        "TB" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => 1.0,
    };
    Some(value * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_the_guidelines_have_them() {
        for (output, expected) in [
            (
                "TCP OK - 0.002 second response time|time=0.002121s;;;0.000000;10.000000",
                vec![("time", 0.002_121)],
            ),
            ("OK|load1=0.120;15;30;0 load5=0.200;;;0", vec![("load1", 0.12), ("load5", 0.2)]),
            (
                "OK | '/ var'=2643MB;5948;5958;0;5968 'it''s'=50%",
                vec![("/ var", 2643.0 * 1_048_576.0), ("it's", 0.5)],
            ),
            ("PING OK|rta=0.5ms;1;2 pl=0%", vec![("rta", 0.0005), ("pl", 0.0)]),
            ("OK|a=U b=3c", vec![("b", 3.0)]),
            ("OK|a=1 a=2\nmore text|c=-1500us", vec![("a", 1.0), ("c", -0.0015)]),
            ("OK, no bar: a=1", vec![]),
            ("OK|'open", vec![]),
            ("OK|novalue", vec![]),
        ] {
            let found = numbers(output);
            let found: Vec<_> =
                found.iter().map(|(label, value)| (label.as_str(), *value)).collect();
            assert_eq!(found.len(), expected.len(), "{output}: {found:?}");
            for ((label, value), (wanted, number)) in found.iter().zip(expected) {
                assert!(*label == wanted && (value - number).abs() < 1e-9, "{output}: {found:?}");
            }
        }
    }
}

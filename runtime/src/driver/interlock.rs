//! What the interlocks said last, and whether it still counts.
//!
//! Invariant: fail-closed. No word yet, a word too old, one that could not be
//! had: each is *not now*.

use std::collections::BTreeMap;

use crate::config::ProbeConfig;
use crate::source::InterlockResult;

#[derive(Debug, Default)]
pub struct Interlocks {
    configs: Vec<ProbeConfig>,
    latest: BTreeMap<String, InterlockResult>,
}

impl Interlocks {
    pub fn new(configs: &[ProbeConfig]) -> Self {
        Self { configs: configs.to_vec(), latest: BTreeMap::new() }
    }

    pub fn take(&mut self, result: InterlockResult) {
        self.latest.insert(result.name.clone(), result);
    }

    /// Why the line may not be disturbed now, if it may not.
    pub fn objection(&self, now_age_ms: u64) -> Option<String> {
        self.configs.iter().find_map(|config| {
            let name = &config.name;
            let Some(latest) = self.latest.get(name) else {
                return Some(format!("{name} has not said anything yet"));
            };
            let old_ms = now_age_ms.saturating_sub(latest.age_ms);
            // One question may be missed, and the next take all its time.
            if old_ms > 2 * config.period_ms + config.timeout_ms {
                return Some(format!("{name} last answered {old_ms} ms ago"));
            }
            match latest.clear {
                Some(true) => None,
                Some(false) => Some(format!("{name} says not now: {}", latest.detail)),
                None => Some(format!("{name} cannot tell: {}", latest.detail)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ProbeKind;

    fn interlocks() -> Interlocks {
        Interlocks::new(&[ProbeConfig {
            name: "line".into(),
            kind: ProbeKind::Tcp { address: String::new() },
            period_ms: 1_000,
            timeout_ms: 500,
        }])
    }

    fn said(clear: Option<bool>, age_ms: u64) -> InterlockResult {
        InterlockResult { name: "line".into(), clear, age_ms, detail: "locked".into() }
    }

    #[test]
    fn only_a_fresh_yes_lets_the_box_act() {
        let mut interlocks = interlocks();
        assert!(interlocks.objection(0).unwrap().contains("not said anything yet"));
        interlocks.take(said(Some(true), 10_000));
        assert_eq!(interlocks.objection(12_500), None);
        assert!(interlocks.objection(12_501).unwrap().contains("2501 ms ago"));
        interlocks.take(said(Some(false), 13_000));
        assert!(interlocks.objection(13_000).unwrap().contains("not now: locked"));
        interlocks.take(said(None, 14_000));
        assert!(interlocks.objection(14_000).unwrap().contains("cannot tell"));
    }

    #[test]
    fn a_box_without_one_may_act() {
        assert_eq!(Interlocks::default().objection(0), None);
    }
}

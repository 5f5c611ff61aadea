//! What a site may set, and what holds where it says nothing.
//!
//! Figures: more than 2 carrier changes, 10 errors and 100 discards a second are
//! NVSentinel's for network cards (`nic-health-monitor.md`); latency and loss
//! are a person's patience.

use homeostat_sdk::Error;
use homeostat_sdk::text::selects;
use serde::Deserialize;

const SECONDS_MAX: f64 = 31_536_000.0;
const OVERRIDES_MAX: usize = 64;
pub const FLAPS_MAX: u32 = 60;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Links that must be up, even where they never were: `link:eth0`. Others
    /// are missed only once they were seen up; a free socket is no fault.
    pub expected: Vec<String>,
    /// Links that nothing is said of.
    pub ignore: Vec<String>,
    /// The first that matches and sets a field decides it.
    pub overrides: Vec<Override>,
    /// Without carrier for so long.
    pub down_s: f64,
    /// So many changes of the carrier ...
    pub flap_changes: u32,
    /// ... in so long.
    pub flap_window_s: f64,
    /// What follows must last for so long.
    pub for_s: f64,
    pub errors_per_s: f64,
    pub drops_per_s: f64,
    pub latency_s: f64,
    /// Share of what is sent.
    pub loss: f64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// `link:eth0`, `link:wl*`.
    #[serde(default = "any")]
    target: String,
    /// For latency and loss: the host that is asked.
    #[serde(default = "any")]
    host: String,
    down_s: Option<f64>,
    flap_changes: Option<u32>,
    flap_window_s: Option<f64>,
    for_s: Option<f64>,
    errors_per_s: Option<f64>,
    drops_per_s: Option<f64>,
    latency_s: Option<f64>,
    loss: Option<f64>,
}

/// What holds for one series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    pub expected: bool,
    pub down_s: f64,
    pub flap_changes: u32,
    pub flap_window_s: f64,
    pub for_s: f64,
    pub errors_per_s: f64,
    pub drops_per_s: f64,
    pub latency_s: f64,
    pub loss: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            expected: Vec::new(),
            ignore: Vec::new(),
            overrides: Vec::new(),
            down_s: 5.0,
            flap_changes: 3,
            flap_window_s: 600.0,
            for_s: 60.0,
            errors_per_s: 10.0,
            drops_per_s: 100.0,
            latency_s: 0.5,
            loss: 0.2,
        }
    }
}

fn any() -> String {
    "*".into()
}

impl Config {
    pub fn check(&self) -> Result<(), Error> {
        if self.overrides.len() > OVERRIDES_MAX {
            let found = self.overrides.len();
            let wanted = format!("wanted at most {OVERRIDES_MAX} overrides, found {found}");
            return Err(Error::config(wanted));
        }
        self.rule("", "").check().map_err(Error::config)?;
        for (at, it) in self.overrides.iter().enumerate() {
            let alone = Self { overrides: vec![it.everywhere()], ..self.clone() };
            let wrong = |why| Error::config(format!("overrides[{at}]: {why}"));
            alone.rule("", "").check().map_err(wrong)?;
        }
        Ok(())
    }

    pub fn ignores(&self, target: &str) -> bool {
        self.ignore.iter().any(|it| selects(it, target))
    }

    pub fn rule(&self, target: &str, host: &str) -> Rule {
        let mine = |it: &&Override| selects(&it.target, target) && selects(&it.host, host);
        let mut rule = Rule {
            expected: self.expected.iter().any(|it| selects(it, target)),
            down_s: self.down_s,
            flap_changes: self.flap_changes,
            flap_window_s: self.flap_window_s,
            for_s: self.for_s,
            errors_per_s: self.errors_per_s,
            drops_per_s: self.drops_per_s,
            latency_s: self.latency_s,
            loss: self.loss,
        };
        // Backwards, so that the first has the last word.
        let overrides: Vec<_> = self.overrides.iter().filter(mine).collect();
        for it in overrides.into_iter().rev() {
            rule.down_s = it.down_s.unwrap_or(rule.down_s);
            rule.flap_changes = it.flap_changes.unwrap_or(rule.flap_changes);
            rule.flap_window_s = it.flap_window_s.unwrap_or(rule.flap_window_s);
            rule.for_s = it.for_s.unwrap_or(rule.for_s);
            rule.errors_per_s = it.errors_per_s.unwrap_or(rule.errors_per_s);
            rule.drops_per_s = it.drops_per_s.unwrap_or(rule.drops_per_s);
            rule.latency_s = it.latency_s.unwrap_or(rule.latency_s);
            rule.loss = it.loss.unwrap_or(rule.loss);
        }
        rule
    }
}

impl Override {
    fn everywhere(&self) -> Self {
        Self { target: any(), host: any(), ..self.clone() }
    }
}

impl Rule {
    fn check(&self) -> Result<(), String> {
        for (name, seconds) in
            [("down_s", self.down_s), ("flap_window_s", self.flap_window_s), ("for_s", self.for_s)]
        {
            if !(0.0..=SECONDS_MAX).contains(&seconds) {
                return Err(format!("{name} wants seconds from 0 to a year, found {seconds}"));
            }
        }
        for (name, limit) in [
            ("errors_per_s", self.errors_per_s),
            ("drops_per_s", self.drops_per_s),
            ("latency_s", self.latency_s),
            ("loss", self.loss),
        ] {
            if !(limit > 0.0 && limit.is_finite()) {
                return Err(format!("{name} wants more than 0, found {limit}"));
            }
        }
        if self.loss > 1.0 {
            return Err(format!("loss wants a share of at most 1, found {}", self.loss));
        }
        if !(1..=FLAPS_MAX).contains(&self.flap_changes) {
            let found = self.flap_changes;
            return Err(format!("flap_changes wants 1 to {FLAPS_MAX}, found {found}"));
        }
        Ok(())
    }
}

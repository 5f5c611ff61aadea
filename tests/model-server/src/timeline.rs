//! From a client's record and an injector's to what a fault cost: when the first
//! request was lost, when answers were good again and stayed so, and how many
//! were lost between.
//!
//! Pure, and judged by the client's record alone: what the daemon believes of
//! itself does not enter.
//!
//! ```text
//!   injected      first lost              good again, `sustain` in a row
//! ──────┼──────────────┼───────────────────────┼──────────────────────▶
//!  good │ good    good │ lost  lost  good lost │ good  good  good  good
//! ```

use std::collections::BTreeMap;

use crate::record::{Injection, Outcome, Sent};

/// What one server's client lived through after one fault. Times are
/// `CLOCK_MONOTONIC`, at the end of the request they speak of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outage {
    pub first_lost_ns: Option<u64>,
    /// The end of the first good answer of a run that is long enough.
    pub good_again_ns: Option<u64>,
    /// Requests not answered rightly in the whole span.
    pub lost: BTreeMap<Outcome, u64>,
    /// How many of them after `good_again_ns`: a relapse.
    pub lost_later: u64,
}

impl Outage {
    /// Every request in the span counts that ended at `from_ns` or later and was
    /// due before `until_ns`: one in flight when the fault struck is a victim too.
    pub fn of(sent: &[Sent], server: &str, from_ns: u64, until_ns: u64, sustain: usize) -> Self {
        let mut span: Vec<&Sent> = sent
            .iter()
            .filter(|sent| sent.server == server)
            .filter(|sent| end_ns(sent) >= from_ns && sent.due.mono_ns < until_ns)
            .collect();
        span.sort_by_key(|sent| (sent.due.mono_ns, sent.n));
        let Some(first) = span.iter().position(|sent| sent.result != Outcome::Good) else {
            return Self::default();
        };
        let run = first_run(&span[first..], sustain).map(|start| first + start);
        let bad = |sent: &&&Sent| sent.result != Outcome::Good;
        let mut lost = BTreeMap::new();
        for sent in span.iter().filter(bad) {
            *lost.entry(sent.result).or_default() += 1;
        }
        Self {
            first_lost_ns: Some(end_ns(span[first])),
            good_again_ns: run.map(|start| end_ns(span[start])),
            lost,
            lost_later: run.map_or(0, |start| span[start..].iter().filter(bad).count() as u64),
        }
    }

    /// The outage after `injection`, up to the next one on the same server.
    pub fn after(
        injection: &Injection,
        injections: &[Injection],
        sent: &[Sent],
        sustain: usize,
    ) -> Self {
        let from_ns = injection.asked.mono_ns;
        let next = injections
            .iter()
            .filter(|other| other.server == injection.server && other.asked.mono_ns > from_ns)
            .map(|other| other.asked.mono_ns)
            .min();
        Self::of(sent, &injection.server, from_ns, next.unwrap_or(u64::MAX), sustain)
    }

    pub fn lost_total(&self) -> u64 {
        self.lost.values().sum()
    }

    /// Something was lost, it ended, and nothing was lost again.
    pub fn healed(&self) -> bool {
        self.good_again_ns.is_some() && self.lost_later == 0
    }
}

/// How often each result came.
pub fn tally<'a>(sent: impl IntoIterator<Item = &'a Sent>) -> BTreeMap<Outcome, u64> {
    let mut tally = BTreeMap::new();
    for sent in sent {
        *tally.entry(sent.result).or_default() += 1;
    }
    tally
}

/// The latency that `percent` of the good answers kept to (nearest rank).
pub fn latency_us(sent: &[Sent], server: &str, percent: u32) -> Option<u64> {
    let good = sent.iter().filter(|sent| sent.server == server && sent.result == Outcome::Good);
    let mut latencies: Vec<u64> = good.map(|sent| sent.latency_us).collect();
    latencies.sort_unstable();
    let rank = (latencies.len() * percent as usize).div_ceil(100).max(1);
    latencies.get(rank - 1).copied()
}

fn end_ns(sent: &Sent) -> u64 {
    sent.due.mono_ns + sent.latency_us * 1000
}

fn first_run(span: &[&Sent], sustain: usize) -> Option<usize> {
    span.windows(sustain.max(1)).position(|run| run.iter().all(|sent| sent.result == Outcome::Good))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moment::Moment;

    const MS: u64 = 1_000_000;

    /// A request each 10 ms from 0; `g` good and 1 ms long, `t` a timeout of
    /// 50 ms, `r` refused at once.
    fn story(server: &str, letters: &str) -> Vec<Sent> {
        let request = |(index, letter): (usize, char)| {
            let (result, latency_us) = match letter {
                'g' => (Outcome::Good, 1000),
                't' => (Outcome::Timeout, 50_000),
                'r' => (Outcome::Refused, 100),
                other => panic!("{other}"),
            };
            Sent {
                server: server.into(),
                n: index as u64 + 1,
                due: moment(index as u64 * 10),
                latency_us,
                result,
                status: None,
                detail: String::new(),
            }
        };
        letters.chars().enumerate().map(request).collect()
    }

    fn moment(ms: u64) -> Moment {
        Moment { unix_ns: ms * MS, mono_ns: ms * MS }
    }

    fn injection(server: &str, ms: u64) -> Injection {
        Injection {
            server: server.into(),
            fault: "crash".into(),
            pid: Some(1),
            asked: moment(ms),
            done: moment(ms + 1),
            error: None,
        }
    }

    #[test]
    fn a_crash_is_lost_from_the_first_refusal_to_the_first_of_a_good_run() {
        let outage = Outage::of(&story("a", "ggrrrggg"), "a", 15 * MS, u64::MAX, 3);
        assert_eq!(outage.first_lost_ns, Some(20 * MS + 100_000));
        assert_eq!(outage.good_again_ns, Some(51 * MS));
        assert_eq!(outage.lost, BTreeMap::from([(Outcome::Refused, 3)]));
        assert!(outage.healed());
    }

    #[test]
    fn a_request_in_flight_when_the_fault_struck_is_a_victim() {
        let outage = Outage::of(&story("a", "ttggg"), "a", 45 * MS, u64::MAX, 2);
        assert_eq!(outage.first_lost_ns, Some(50 * MS));
        assert_eq!(outage.lost_total(), 2);
    }

    #[test]
    fn one_good_answer_among_lost_ones_is_no_recovery() {
        let outage = Outage::of(&story("a", "rrgrrggg"), "a", 0, u64::MAX, 2);
        assert_eq!(outage.good_again_ns, Some(51 * MS));
        let never = Outage::of(&story("a", "rrgrg"), "a", 0, u64::MAX, 2);
        assert_eq!(never.good_again_ns, None);
        assert!(!never.healed());
    }

    #[test]
    fn what_is_lost_after_a_recovery_is_a_relapse() {
        let outage = Outage::of(&story("a", "rgggrrgg"), "a", 0, u64::MAX, 3);
        assert_eq!((outage.good_again_ns, outage.lost_later), (Some(11 * MS), 2));
        assert!(!outage.healed());
    }

    #[test]
    fn a_fault_that_nobody_felt_has_no_outage() {
        assert_eq!(Outage::of(&story("a", "rrggg"), "a", 30 * MS, u64::MAX, 3), Outage::default());
    }

    #[test]
    fn an_outage_ends_where_the_next_injection_on_that_server_begins() {
        let mut sent = story("a", "grrggrrgg");
        sent.extend(story("b", "rrrrrrrrr"));
        let all = [injection("a", 10), injection("b", 20), injection("a", 50)];
        let first = Outage::after(&all[0], &all, &sent, 2);
        assert_eq!((first.good_again_ns, first.lost_total()), (Some(31 * MS), 2));
        let second = Outage::after(&all[2], &all, &sent, 2);
        assert_eq!((second.good_again_ns, second.lost_total()), (Some(71 * MS), 2));
    }

    #[test]
    fn latency_is_the_nearest_rank_of_good_answers() {
        let mut sent = story("a", "ggggr");
        for (sent, latency_us) in sent.iter_mut().zip([4000, 1000, 3000, 2000]) {
            sent.latency_us = latency_us;
        }
        assert_eq!(latency_us(&sent, "a", 50), Some(2000));
        assert_eq!(latency_us(&sent, "a", 99), Some(4000));
        assert_eq!(latency_us(&sent, "b", 50), None);
        assert_eq!(tally(&sent)[&Outcome::Good], 4);
    }
}

#![no_main]
//! Whatever text comes, a recording is read or refused; what was read is written
//! down and read again as the same, and a captured one can be narrowed.

use homeostat_sdk::recording::Recording;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(recording) = Recording::parse(text) else { return };
    let written = recording.to_text();
    let again = Recording::parse(&written).expect("what was written reads");
    assert_eq!(again.to_text(), written);
    let all = ["*".to_owned()];
    let seen = recording.seen_by("fuzz", Default::default(), &all, &all);
    assert!(Recording::parse(&seen.to_text()).is_ok());
});

//! `[drill]`: whether faults may be staged here.

use super::DrillConfig;
use super::reader::Section;
use super::typed::{MINUTE, SECOND};
use crate::model::drill::HANG_MS_MAX;

pub(super) fn drill(section: &mut Section<'_>) -> DrillConfig {
    DrillConfig {
        allow: section.flag("allow", false),
        hang_max_ms: section.duration("hang_max", MINUTE, SECOND..=HANG_MS_MAX),
    }
}

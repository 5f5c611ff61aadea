//! What the three programs of this package agree on: the records they keep, the
//! faults that can be asked for, the words of the Open Inference Protocol, and
//! the arithmetic from records to "lost from here to there".
//!
//! Invariant: nothing here knows of Homeostat, and Homeostat knows of nothing
//! here. A demo that judged the daemon by the daemon's own code would prove
//! nothing.

pub mod control;
pub mod fault;
pub mod golden;
pub mod moment;
pub mod oip;
pub mod record;
pub mod timeline;

//! Running plugins: from a signed file to a thread that answers, and no further.

pub mod package;

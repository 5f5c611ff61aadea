//! What `wit-bindgen` makes of the contract.
//!
//! Invariant: no type is defined here. The contract's records are mapped onto
//! those of `types` and `heal`, so nothing is converted on the way in or out.

/// The contract's `types` interface.
#[doc(hidden)]
pub mod wire {
    pub use crate::frame::RawFrame as Frame;
    pub use crate::types::{Attrs, Error, Finding, Instant, Line, Mark, Report, Series, Value};
}

#[doc(hidden)]
#[allow(clippy::all, missing_docs)]
pub mod detector {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "detector",
        with: { "homeostat:plugin/types@0.1.0": crate::bindings::wire },
        pub_export_macro: true,
        export_macro_name: "export_detector",
        generate_all,
    });
}

/// The second half of `detector-resumable`. The bindings of both worlds that
/// export `detect` would define the same macros, so a resumable detector exports
/// this world beside `detector`: the encoder joins the two into the third.
#[doc(hidden)]
#[allow(clippy::all, missing_docs)]
pub mod checkpoint {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package homeostat:sdk;
            world checkpointed { export homeostat:plugin/checkpoint@0.1.0; }
        ",
        pub_export_macro: true,
        export_macro_name: "export_checkpoint",
        generate_all,
    });
}

#[doc(hidden)]
#[allow(clippy::all, missing_docs)]
pub mod healer {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "healer",
        with: {
            "homeostat:plugin/types@0.1.0": crate::bindings::wire,
            "homeostat:plugin/heal@0.1.0/node": crate::heal::Node,
            "homeostat:plugin/heal@0.1.0/remedy": crate::heal::Remedy,
            "homeostat:plugin/heal@0.1.0/attempt": crate::heal::Attempt,
            "homeostat:plugin/heal@0.1.0/incident": crate::heal::Incident,
            "homeostat:plugin/heal@0.1.0/proposal": crate::heal::Proposal,
            "homeostat:plugin/heal@0.1.0/pause": crate::heal::Pause,
            "homeostat:plugin/heal@0.1.0/decision": crate::heal::Decision,
        },
        pub_export_macro: true,
        export_macro_name: "export_healer",
        generate_all,
    });
}

//! The room `workload` on real processes and the real shim.

#[path = "workload/crash.rs"]
mod crash;
#[path = "workload/drill.rs"]
mod drill;
#[path = "workload/life.rs"]
mod life;
#[path = "workload/output.rs"]
mod output;
#[path = "workload/refusal.rs"]
mod refusal;
#[path = "workload/rig.rs"]
mod rig;
#[path = "workload/tree.rs"]
mod tree;

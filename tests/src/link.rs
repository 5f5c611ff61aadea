//! A pretend network interface, as the kernel shows one below `/sys`.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use crate::plan::{Plan, path};

pub struct Link {
    carrier: PathBuf,
}

impl Link {
    /// A link of that name whose carrier is there, and a box that watches it.
    pub fn on(plan: Plan, name: &str) -> (Self, Plan) {
        let sys = plan.path().join("sys");
        let folder = sys.join("class/net").join(name);
        fs::create_dir_all(&folder).expect("the story's folder can be written");
        let link = Self { carrier: folder.join("carrier") };
        link.set("1\n");
        let plan = plan.with(|settings| {
            settings.set("source.sys_root", path(&sys)).push("link", json!({ "name": name }));
        });
        (link, plan)
    }

    pub fn loses_its_carrier(&self) {
        self.set("0\n");
    }

    pub fn has_its_carrier_again(&self) {
        self.set("1\n");
    }

    /// Whole or not at all, as the kernel's own files are read.
    fn set(&self, carrying: &str) {
        let fresh = self.carrier.with_extension("new");
        fs::write(&fresh, carrying).expect("the story's folder can be written");
        fs::rename(&fresh, &self.carrier).expect("it can be renamed");
    }
}

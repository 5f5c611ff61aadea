//! Whether a component keeps to the contract: what it imports, what it exports,
//! how large it is. The box looks again; here the author hears of it first.

use anyhow::{Context as _, Result, bail};
use homeostat::plugin::IMPORTS;
use homeostat::plugin::package::{API_VERSIONS, COMPONENT_BYTES_MAX, World};
use wit_parser::decoding::{DecodedWasm, decode};

/// What a component touches and offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faces {
    pub imports: Vec<String>,
    pub exports: Vec<String>,
    pub bytes: usize,
}

impl Faces {
    pub fn of(component: &[u8]) -> Result<Self> {
        let decoded = decode(component).context("this is no component that can be read")?;
        let DecodedWasm::Component(resolve, world) = decoded else {
            bail!("wanted a component, found a WIT package");
        };
        let world = &resolve.worlds[world];
        let names =
            |keys: Vec<_>| keys.into_iter().map(|key| resolve.name_world_key(key)).collect();
        Ok(Self {
            imports: names(world.imports.keys().collect()),
            exports: names(world.exports.keys().collect()),
            bytes: component.len(),
        })
    }

    /// Everything that is wrong with it as a plugin of `world`, together.
    pub fn check(&self, world: World) -> Result<()> {
        let mut wrong = Vec::new();
        for import in self.imports.iter().filter(|it| !IMPORTS.contains(&it.as_str())) {
            wrong.push(format!(
                "it imports {import}; a plugin may import only {}. A dependency that wants a \
                 clock, randomness or files brings such an import",
                IMPORTS.join(", ")
            ));
        }
        let wanted = exports(world);
        for missing in wanted.iter().filter(|it| !self.exports.contains(it)) {
            wrong.push(format!(
                "world {world} wants the export {missing}: is the macro the right one?"
            ));
        }
        for more in self.exports.iter().filter(|it| !wanted.contains(it)) {
            wrong.push(format!("it exports {more}, which world {world} does not have"));
        }
        if self.bytes > COMPONENT_BYTES_MAX {
            wrong.push(format!(
                "it has {} bytes, at most {COMPONENT_BYTES_MAX} are taken",
                self.bytes
            ));
        }
        if !wrong.is_empty() {
            bail!("{}", wrong.join("\n"));
        }
        Ok(())
    }
}

fn exports(world: World) -> Vec<String> {
    let interfaces: &[&str] = match world {
        World::Detector => &["detect"],
        World::DetectorResumable => &["detect", "checkpoint"],
        World::Healer => &["heal"],
    };
    interfaces.iter().map(|it| format!("homeostat:plugin/{it}@{}", API_VERSIONS[0])).collect()
}

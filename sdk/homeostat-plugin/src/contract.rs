//! Whether a component keeps to the contract: what it imports, what it exports,
//! how large it is. The box looks again; here the author hears of it first.

use anyhow::{Context as _, Result, bail};
use homeostat::plugin::IMPORTS;
use homeostat::plugin::package::{API_VERSIONS, COMPONENT_BYTES_MAX, World};
use wit_parser::decoding::{DecodedWasm, decode};

/// A core module begins alike and goes on with `\x01\0\0\0`.
const PREAMBLE: &[u8] = b"\0asm\x0d\0\x01\0";

/// What a component touches and offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faces {
    pub imports: Vec<String>,
    pub exports: Vec<String>,
    pub bytes: usize,
}

impl Faces {
    pub fn of(component: &[u8]) -> Result<Self> {
        if !component.starts_with(PREAMBLE) {
            bail!("wanted a component, found something else: `homeostat-plugin build` makes one");
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn faces(imports: &[&str], exports: &[&str]) -> Faces {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Faces { imports: owned(imports), exports: owned(exports), bytes: 1 }
    }

    const LOG: &str = "homeostat:plugin/log@0.1.0";
    const DETECT: &str = "homeostat:plugin/detect@0.1.0";

    #[test]
    fn a_foreign_import_is_named() {
        let clock = faces(&[LOG, "wasi:clocks/wall-clock@0.2.0"], &[]);
        let error = clock.check(World::Healer).unwrap_err().to_string();
        assert!(error.contains("imports wasi:clocks/wall-clock@0.2.0"), "{error}");
        assert!(error.contains("wants the export homeostat:plugin/heal@0.1.0"), "{error}");
    }

    #[test]
    fn a_world_has_its_exports_and_no_others() {
        let detector = faces(&[LOG], &[DETECT]);
        assert!(detector.check(World::Detector).is_ok());
        let error = detector.check(World::DetectorResumable).unwrap_err().to_string();
        assert!(error.contains("wants the export homeostat:plugin/checkpoint@0.1.0"), "{error}");
        let error = detector.check(World::Healer).unwrap_err().to_string();
        assert!(error.contains("exports homeostat:plugin/detect@0.1.0, which"), "{error}");
    }

    #[test]
    fn a_component_that_no_box_takes_is_too_large_here_too() {
        let large = Faces { bytes: COMPONENT_BYTES_MAX + 1, ..faces(&[], &[DETECT]) };
        let error = large.check(World::Detector).unwrap_err().to_string();
        assert!(error.contains("at most"), "{error}");
    }

    #[test]
    fn what_is_no_component_is_said_to_be_none() {
        for bytes in [&b""[..], b"\0asm\x01\0\0\0", b"text"] {
            let found = Faces::of(bytes);
            assert!(found.is_err(), "{bytes:?} is read as {found:?}");
        }
    }
}

//! What an image is, told to a person: its kind, and the world of its component as WIT.
//!
//! It runs nothing and compiles nothing: it reads the types that the component carries.

use std::fmt;

use wit_component::WitPrinter;
use wit_parser::decoding::{DecodedWasm, decode};

use super::inspect::{self, Entry, Form};

/// What stands in place of a world where there is none.
const NO_WIT: &str = "// a core module: the types of its imports and exports are none of WIT\n";

/// How an image would run here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A component that runs once, of this WASI version line.
    Command(&'static str),
    /// A component that answers HTTP requests, of this WASI version line.
    Http(&'static str),
    /// A core module of WASI preview 1.
    Preview1,
    /// Nothing that runs by itself; the message says what is missing.
    Other(String),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(version) => write!(f, "command (WASI {version})"),
            Self::Http(version) => write!(f, "HTTP server (WASI {version})"),
            Self::Preview1 => f.write_str("command (core module of WASI preview 1)"),
            Self::Other(why) => write!(f, "none that runs: {why}"),
        }
    }
}

/// What an image holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// How it would run.
    pub kind: Kind,
    /// The names that it imports, in its order.
    pub imports: Vec<String>,
    /// The names that it exports, in its order.
    pub exports: Vec<String>,
    /// Its world and all interfaces that this names, as WIT.
    pub wit: String,
}

/// Describes an image by its bytes.
///
/// # Errors
/// A message for the person who made it, if it is no WebAssembly or malformed.
pub fn describe(image: &[u8]) -> Result<Description, String> {
    if inspect::form(image)? == Form::Module {
        let (imports, exports) = inspect::module_names(image)?;
        return Ok(Description { kind: Kind::Preview1, imports, exports, wit: NO_WIT.to_owned() });
    }
    let malformed = |error: &dyn fmt::Display| format!("the component is malformed: {error:#}");
    let decoded = decode(image).map_err(|error| malformed(&error))?;
    let (resolve, world) = match &decoded {
        DecodedWasm::Component(resolve, world) => (resolve, *world),
        DecodedWasm::WitPackage(..) => return Err("it is a package of WIT, and no component that could run".to_owned()),
    };
    let names = |items: &mut dyn Iterator<Item = &wit_parser::WorldKey>| {
        items.map(|key| resolve.name_world_key(key)).collect::<Vec<String>>()
    };
    let (imports, exports) = match resolve.worlds.get(world) {
        Some(world) => (names(&mut world.imports.keys()), names(&mut world.exports.keys())),
        None => (Vec::new(), Vec::new()),
    };
    let main = decoded.package();
    let others: Vec<_> = resolve.packages.iter().map(|(id, _)| id).filter(|id| *id != main).collect();
    let mut printer = WitPrinter::default();
    printer.print(resolve, main, &others).map_err(|error| malformed(&error))?;
    Ok(Description { kind: kind(&exports), imports, exports, wit: printer.output.to_string() })
}

fn kind(exports: &[String]) -> Kind {
    match inspect::entry(exports) {
        Ok(Entry::Run02) => Kind::Command("0.2"),
        Ok(Entry::Run03) => Kind::Command("0.3"),
        Ok(Entry::Http02) => Kind::Http("0.2"),
        Ok(Entry::Http03) => Kind::Http("0.3"),
        Err(why) => Kind::Other(why),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_component_is_shown_with_its_world() {
        let component = wat::parse_str(
            r#"(component
                (import "wasi:cli/environment@0.2.3" (instance
                    (export "get-arguments" (func (result (list string))))))
                (core module $m (func (export "run") (result i32) i32.const 0))
                (core instance $i (instantiate $m))
                (func $run (result (result)) (canon lift (core func $i "run")))
                (instance $cli (export "run" (func $run)))
                (export "wasi:cli/run@0.2.3" (instance $cli)))"#,
        )
        .unwrap();
        let description = describe(&component).unwrap();
        assert_eq!(description.kind, Kind::Command("0.2"));
        assert_eq!(
            (description.imports, description.exports),
            (vec!["wasi:cli/environment@0.2.3".to_owned()], vec!["wasi:cli/run@0.2.3".to_owned()])
        );
        expect![[r#"
            package root:component;

            world root {
              import wasi:cli/environment@0.2.3;

              export wasi:cli/run@0.2.3;
            }
            package wasi:cli@0.2.3 {
              interface environment {
                get-arguments: func() -> list<string>;
              }
              interface run {
                run: func() -> result;
              }
            }
        "#]]
        .assert_eq(&description.wit);
    }

    #[test]
    fn a_core_module_is_shown_by_its_names() {
        let text = r#"(module (import "wasi_snapshot_preview1" "fd_close" (func (param i32) (result i32)))
            (func (export "_start")) (memory (export "memory") 1))"#;
        let module = wat::parse_str(text).unwrap();
        let description = describe(&module).unwrap();
        assert_eq!(description.kind, Kind::Preview1);
        assert_eq!(description.imports, ["wasi_snapshot_preview1#fd_close"]);
        assert_eq!(description.exports, ["_start", "memory"]);
    }

    #[test]
    fn what_is_no_component_is_told() {
        let why = describe(b"\x7fELF\x02\x01\x01\x00").unwrap_err();
        assert!(why.contains("ELF"), "{why}");
        let cut = wat::parse_str("(component (core module))").unwrap();
        let why = describe(cut.get(..cut.len() - 3).unwrap()).unwrap_err();
        assert!(why.contains("malformed"), "{why}");
    }
}

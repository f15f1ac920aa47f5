//! Machine code made from an image, not yet linked: a component, or a core module of WASI preview 1.

use wasmtime::component::Component;
use wasmtime::{Engine, Module};

use super::inspect::{self, Form};

/// What a component imports besides, if its instances answer one request only.
///
/// What is known of an image when it is compiled must be known when its code is loaded again, without the image. The
/// code keeps nothing of an image but the types of what it imports and exports; so the mark is an import: of a type,
/// which costs nothing at an instance's start. The name has no package, and so is no guest's.
pub(super) const ANSWERS_ONCE: &str = "coracle-answers-once";

/// A section of imports in a component's binary.
const IMPORT_SECTION: u8 = 10;

/// The import of a resource type, as it is written behind its name.
const RESOURCE_TYPE: [u8; 2] = [3, 1];

/// A compiled image.
pub(super) enum Code {
    /// A core module, a command of WASI preview 1.
    Module(Module),
    /// A component.
    Component(Component),
}

impl Code {
    /// Compiles an image.
    ///
    /// # Errors
    /// A message that says what the image is instead, or what is wrong with it.
    pub(super) fn compile(engine: &Engine, image: &[u8]) -> Result<Self, String> {
        let form = inspect::form(image)?;
        let code = match form {
            Form::Module => Module::from_binary(engine, image).map(Self::Module),
            Form::Component if inspect::answers_once(image) => {
                Component::from_binary(engine, &marked(image)).map(Self::Component)
            }
            Form::Component => Component::from_binary(engine, image).map(Self::Component),
        };
        code.map_err(|error| inspect::malformed(form, &error))
    }

    /// The code in the form in which it is kept.
    ///
    /// # Errors
    /// The engine cannot write it.
    pub(super) fn serialize(&self) -> wasmtime::Result<Vec<u8>> {
        match self {
            Self::Module(module) => module.serialize(),
            Self::Component(component) => component.serialize(),
        }
    }
}

/// The component with the mark behind it.
fn marked(component: &[u8]) -> Vec<u8> {
    let name = ANSWERS_ONCE.as_bytes();
    // One import; the kind of its name; the name behind its length. All lengths fit into seven bits.
    let mut import = vec![1, 0, name.len() as u8];
    import.extend_from_slice(name);
    import.extend_from_slice(&RESOURCE_TYPE);
    let mut marked = Vec::with_capacity(component.len() + import.len() + 2);
    marked.extend_from_slice(component);
    marked.extend_from_slice(&[IMPORT_SECTION, import.len() as u8]);
    marked.extend_from_slice(&import);
    marked
}

//! YAML as upstream reads and writes it, behind one door: the event parser is a library, everything above
//! it (tree with positions, YAML 1.1 scalars, strict decoding into structs, printing) is here.
//!
//! Serde is not used for this: Go's decoder overlays a document on default values, gives `key:` the type's
//! zero value, keeps `1.10` and `yes` as text in string fields and goes on after an error; with serde each
//! of the 300 fields would need an attribute for that, and inlined `http_config` fields have no strict form.

pub(crate) mod decode;
pub(crate) mod emit;
pub(crate) mod encode;
pub(crate) mod items;
pub(crate) mod near;
pub(crate) mod node;
pub(crate) mod record;
pub(crate) mod resolve;
pub(crate) mod value;

pub(crate) use decode::{Decode, Decoder, Invalid};
pub(crate) use encode::{Encode, Out};
pub(crate) use node::Node;
pub(crate) use record::{Hooks, Record};

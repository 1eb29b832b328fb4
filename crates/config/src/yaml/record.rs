//! Structs as lists of named fields: one line each for reading, printing and suggesting.

use super::decode::{Decoder, Invalid};
use super::encode::Out;
use super::node::Node;

/// A struct with named fields. Object-safe, so that the reading loop exists once.
pub(crate) trait Record {
    /// Reads one field; false where there is no such field.
    fn decode_field(&mut self, name: &str, key: &Node, value: &Node, cx: &mut Decoder) -> bool;
    /// Names of all fields.
    fn names(&self, out: &mut Vec<&'static str>);
    /// Prints the fields, in upstream's order.
    fn encode_fields(&self, out: &mut Vec<(String, Out)>);
    /// True where all fields are zero: `omitempty` leaves such a struct out.
    fn is_all_zero(&self) -> bool;
}

/// What a struct does besides listing its fields.
pub(crate) trait Hooks {
    /// Before reading: sets defaults.
    fn begin(&mut self) {}
    /// After reading without problems: checks, and completes values that follow from others.
    fn finish(&mut self, _node: &Node, _cx: &mut Decoder) -> Result<(), Invalid> {
        Ok(())
    }
}

/// Lists the fields of a struct. Modes:
/// `keep` always printed, `omit` left out where zero, `flow` as `omit` but a list in `[]`, `inline` the
/// fields of a nested struct belong to this one, `list(text)` as `omit` with `text` as the problem of a
/// null item, `with(module)` as `omit` through `module::{decode, encode, is_zero}`.
macro_rules! yaml_record {
    ($ty:ty, $what:literal, zero = $zero:expr, { $( $field:ident $(= $key:literal)? : $mode:ident $( ( $($arg:tt)* ) )? ),* $(,)? }) => {
        impl $crate::yaml::Record for $ty {
            fn decode_field(
                &mut self,
                name: &str,
                key: &$crate::yaml::Node,
                value: &$crate::yaml::Node,
                cx: &mut $crate::yaml::Decoder,
            ) -> bool {
                $( $crate::yaml::record::yaml_field!(@decode $mode $(($($arg)*))?, self.$field, ($crate::yaml::record::yaml_field!(@key $field $($key)?)), name, key, value, cx); )*
                let _ = (name, key, value, cx);
                false
            }
            fn names(&self, out: &mut Vec<&'static str>) {
                $( $crate::yaml::record::yaml_field!(@names $mode $(($($arg)*))?, self.$field, ($crate::yaml::record::yaml_field!(@key $field $($key)?)), out); )*
            }
            fn encode_fields(&self, out: &mut Vec<(String, $crate::yaml::Out)>) {
                $( $crate::yaml::record::yaml_field!(@encode $mode $(($($arg)*))?, self.$field, ($crate::yaml::record::yaml_field!(@key $field $($key)?)), out); )*
            }
            fn is_all_zero(&self) -> bool {
                true $( && $crate::yaml::record::yaml_field!(@zero $mode $(($($arg)*))?, self.$field) )*
            }
        }
        impl $crate::yaml::Decode for $ty {
            fn zero() -> Self {
                $zero
            }
            fn decode(&mut self, node: &$crate::yaml::Node, cx: &mut $crate::yaml::Decoder) -> bool {
                $crate::yaml::Hooks::begin(self);
                let before = cx.found();
                if !cx.record(node, self, $what) {
                    return false;
                }
                if cx.found() == before && let Err(invalid) = $crate::yaml::Hooks::finish(self, node, cx) {
                    cx.fail_at(node, invalid);
                }
                true
            }
        }
        impl $crate::yaml::Encode for $ty {
            fn encode(&self) -> $crate::yaml::Out {
                let mut out = Vec::new();
                $crate::yaml::Record::encode_fields(self, &mut out);
                $crate::yaml::Out::Map(out)
            }
            fn is_zero(&self) -> bool {
                $crate::yaml::Record::is_all_zero(self)
            }
        }
    };
    ($ty:ty, $what:literal, { $($fields:tt)* }) => {
        $crate::yaml::record::yaml_record!($ty, $what, zero = <$ty>::default(), { $($fields)* });
    };
}

macro_rules! yaml_field {
    (@key $field:ident) => {
        stringify!($field)
    };
    (@key $field:ident $key:literal) => {
        $key
    };

    (@decode inline, $self:ident.$field:ident, $key:tt, $name:ident, $keynode:ident, $value:ident, $cx:ident) => {
        if $crate::yaml::Record::decode_field(&mut $self.$field, $name, $keynode, $value, $cx) {
            return true;
        }
    };
    (@decode list($null:expr), $self:ident.$field:ident, $key:tt, $name:ident, $keynode:ident, $value:ident, $cx:ident) => {
        if $name == $key {
            $cx.list($value, &mut $self.$field, $null);
            return true;
        }
    };
    (@decode with($module:ty), $self:ident.$field:ident, $key:tt, $name:ident, $keynode:ident, $value:ident, $cx:ident) => {
        if $name == $key {
            <$module>::decode(&mut $self.$field, $value, $cx);
            return true;
        }
    };
    (@decode $mode:ident, $self:ident.$field:ident, $key:tt, $name:ident, $keynode:ident, $value:ident, $cx:ident) => {
        if $name == $key {
            $cx.decode($value, &mut $self.$field);
            return true;
        }
    };

    (@names inline, $self:ident.$field:ident, $key:tt, $out:ident) => {
        $crate::yaml::Record::names(&$self.$field, $out)
    };
    (@names $mode:ident $(($($arg:tt)*))?, $self:ident.$field:ident, $key:tt, $out:ident) => {
        $out.push($key)
    };

    (@encode inline, $self:ident.$field:ident, $key:tt, $out:ident) => {
        $crate::yaml::Record::encode_fields(&$self.$field, $out)
    };
    (@encode keep, $self:ident.$field:ident, $key:tt, $out:ident) => {
        $out.push(($key.to_string(), $crate::yaml::Encode::encode(&$self.$field)))
    };
    (@encode flow, $self:ident.$field:ident, $key:tt, $out:ident) => {
        if !$crate::yaml::Encode::is_zero(&$self.$field) {
            $out.push(($key.to_string(), $crate::yaml::Encode::encode(&$self.$field).flow()));
        }
    };
    (@encode with($module:ty), $self:ident.$field:ident, $key:tt, $out:ident) => {
        if !<$module>::is_zero(&$self.$field) {
            $out.push(($key.to_string(), <$module>::encode(&$self.$field)));
        }
    };
    (@encode $mode:ident $(($($arg:tt)*))?, $self:ident.$field:ident, $key:tt, $out:ident) => {
        if !$crate::yaml::Encode::is_zero(&$self.$field) {
            $out.push(($key.to_string(), $crate::yaml::Encode::encode(&$self.$field)));
        }
    };

    (@zero inline, $self:ident.$field:ident) => {
        $crate::yaml::Record::is_all_zero(&$self.$field)
    };
    (@zero with($module:ty), $self:ident.$field:ident) => {
        <$module>::is_zero(&$self.$field)
    };
    (@zero $mode:ident $(($($arg:tt)*))?, $self:ident.$field:ident) => {
        $crate::yaml::Encode::is_zero(&$self.$field)
    };
}

pub(crate) use {yaml_field, yaml_record};

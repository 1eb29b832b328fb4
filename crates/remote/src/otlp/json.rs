//! OTLP's JSON encoding, turned into protobuf while it is parsed: no tree of values is built, and what translates
//! requests knows one encoding only.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::schema::{Field, Kind, Message, REQUEST};
use crate::wire::BYTES;

/// Upper bound of a JSON body, bytes. A number in a list takes two bytes here and eight in protobuf, and messages
/// are copied into those around them: 8 MiB can become 64 MiB for a moment.
pub(super) const JSON_BYTES_MAX: usize = 8 << 20;

/// The protobuf form of a request in JSON.
///
/// # Errors
/// In words for the sender: not JSON, or not such a message.
pub fn to_protobuf(body: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(body.len() / 2);
    let mut json = serde_json::Deserializer::from_slice(body);
    Object { message: &REQUEST, out: &mut out }.deserialize(&mut json).map_err(|e| e.to_string())?;
    json.end().map_err(|e| e.to_string())?;
    Ok(out)
}

fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn tag(out: &mut Vec<u8>, number: u32, wire: u8) {
    varint(out, u64::from(number) << 3 | u64::from(wire));
}

fn bytes(out: &mut Vec<u8>, number: u32, value: &[u8]) {
    tag(out, number, BYTES);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// `resource_metrics` for `resourceMetrics`: JSON of protobuf may have either.
fn is_name(field: &Field, key: &str) -> bool {
    field.name == key
        || key.contains('_') && {
            let snake = field.name.chars().flat_map(|c| {
                let mark = c.is_ascii_uppercase().then_some('_');
                mark.into_iter().chain([c.to_ascii_lowercase()])
            });
            snake.eq(key.chars())
        }
}

/// An object: a message.
struct Object<'o> {
    message: &'static Message,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            match self.message.fields.iter().find(|f| is_name(f, &key)) {
                Some(field) if field.repeated => map.next_value_seed(List { field, out: self.out })?,
                Some(field) => {
                    map.next_value_seed(Single {
                        number: field.number,
                        kind: field.kind,
                        tagged: true,
                        out: self.out,
                    })?;
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// An array: a repeated field.
struct List<'o> {
    field: &'static Field,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array for {}", self.field.name)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let (number, kind) = (self.field.number, self.field.kind);
        if kind.wire() == BYTES {
            while seq.next_element_seed(Single { number, kind, tagged: true, out: &mut *self.out })?.is_some()
            {
            }
            return Ok(());
        }
        let mut packed = Vec::new();
        while seq.next_element_seed(Single { number, kind, tagged: false, out: &mut packed })?.is_some() {}
        bytes(self.out, number, &packed);
        Ok(())
    }
}

/// One value.
struct Single<'o> {
    number: u32,
    kind: Kind,
    /// With its tag; packed numbers have none.
    tagged: bool,
    out: &'o mut Vec<u8>,
}

impl Single<'_> {
    fn word(self, n: u64) {
        let wire = self.kind.wire();
        if self.tagged {
            tag(self.out, self.number, wire);
        }
        if wire == crate::wire::VARINT {
            varint(self.out, n);
        } else {
            self.out.extend_from_slice(&n.to_le_bytes());
        }
    }

    fn integer<E: Error>(self, n: i128) -> Result<(), E> {
        let fits = |low: i128, high: i128| (low..=high).contains(&n);
        let word = match self.kind {
            Kind::Int64 | Kind::Sfixed64 if fits(i64::MIN.into(), i64::MAX.into()) => n as u64,
            Kind::Uint64 | Kind::Fixed64 if fits(0, u64::MAX.into()) => n as u64,
            Kind::Uint32 | Kind::Enum(_) if fits(0, u32::MAX.into()) => n as u64,
            Kind::Sint32 if fits(i32::MIN.into(), i32::MAX.into()) => {
                let n = n as i64;
                (n << 1 ^ n >> 63) as u64
            }
            Kind::Double => (n as f64).to_bits(),
            _ => return Err(E::custom(format!("the number {n} does not fit where it stands"))),
        };
        self.word(word);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Single<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Single<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Message(_) => "an object",
            Kind::Text | Kind::Bytes | Kind::Id => "a text",
            Kind::Bool => "a truth value",
            _ => "a number",
        })
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, b: bool) -> Result<(), E> {
        if !matches!(self.kind, Kind::Bool) {
            return Err(E::invalid_type(serde::de::Unexpected::Bool(b), &self));
        }
        self.word(u64::from(b));
        Ok(())
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<(), E> {
        self.integer(n.into())
    }

    fn visit_i64<E: Error>(self, n: i64) -> Result<(), E> {
        self.integer(n.into())
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<(), E> {
        match self.kind {
            Kind::Double => {
                self.word(v.to_bits());
                Ok(())
            }
            // Whole numbers may be written as 1.0 or 1e3.
            _ if v.fract() == 0.0 && v.abs() < 1e18 => self.integer(v as i128),
            _ => Err(E::custom(format!("the number {v} does not fit where it stands"))),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        match self.kind {
            Kind::Text => bytes(self.out, self.number, text.as_bytes()),
            Kind::Bytes => {
                let value = STANDARD.decode(text).map_err(E::custom)?;
                bytes(self.out, self.number, &value);
            }
            Kind::Id => {
                let value = hex(text).ok_or_else(|| E::custom(format!("{text:?} is not hexadecimal")))?;
                bytes(self.out, self.number, &value);
            }
            Kind::Enum(names) => {
                let n = names.iter().position(|n| *n == text);
                let n = n.ok_or_else(|| E::custom(format!("unknown value {text:?}")))?;
                self.word(n as u64);
            }
            Kind::Double => {
                let v = match text {
                    "NaN" => f64::NAN,
                    "Infinity" => f64::INFINITY,
                    "-Infinity" => f64::NEG_INFINITY,
                    _ => model::float_text::parse_float(text).map_err(E::custom)?,
                };
                self.word(v.to_bits());
            }
            Kind::Message(_) | Kind::Bool => {
                return Err(E::invalid_type(serde::de::Unexpected::Str(text), &self));
            }
            _ => return self.integer(text.parse::<i128>().map_err(E::custom)?),
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let Kind::Message(message) = self.kind else {
            return Err(A::Error::invalid_type(serde::de::Unexpected::Map, &self));
        };
        let mut inner = Vec::new();
        Object { message, out: &mut inner }.visit_map(map)?;
        bytes(self.out, self.number, &inner);
        Ok(())
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| (b as char).to_digit(16);
    let pairs = text.as_bytes().chunks(2).map(|pair| match *pair {
        [a, b] => Some((digit(a)? << 4 | digit(b)?) as u8),
        _ => None,
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(json: &str) -> Result<Vec<u8>, String> {
        to_protobuf(json.as_bytes())
    }

    #[test]
    fn fields_become_what_protobuf_has() {
        let json = r#"{"resource_metrics":[{"x":[{}],"resource":{"attributes":[{"key":"a","value":{"intValue":"-1"}}]},"schemaUrl":"u"}]}"#;
        let got = made(json).unwrap();
        // A tag and the ten bytes of a negative number.
        let value = [0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        let mut pair = Vec::new();
        bytes(&mut pair, 1, b"a");
        bytes(&mut pair, 2, &value);
        let mut resource = Vec::new();
        bytes(&mut resource, 1, &pair);
        let mut one = Vec::new();
        bytes(&mut one, 1, &resource);
        bytes(&mut one, 3, b"u");
        let mut all = Vec::new();
        bytes(&mut all, 1, &one);
        assert_eq!(got, all);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for bad in [
            r#"{"resourceMetrics":1}"#,
            r#"{"resourceMetrics":[1]}"#,
            r#"{"resourceMetrics":[{"schemaUrl":{}}]}"#,
            r#"{"resourceMetrics":[{"resource":{"droppedAttributesCount":-1}}]}"#,
            r#"{"resourceMetrics":[{"resource":{"attributes":[{"value":{"boolValue":"x"}}]}}]}"#,
            "{} {}",
            "[]",
            "",
        ] {
            assert!(made(bad).is_err(), "{bad}");
        }
        assert_eq!(made("{}"), Ok(Vec::new()));
        assert_eq!(made(r#"{"resourceMetrics":null}"#), Ok(Vec::new()));
    }
}

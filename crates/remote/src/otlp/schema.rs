//! The messages of OpenTelemetry's metrics (`opentelemetry/proto/metrics/v1`): numbers, names and kinds of fields.
//!
//! One table for both encodings: what reads protobuf checks wire types by it, and JSON is turned into protobuf by
//! it, so that only one form is ever translated into series.

use crate::WireError;
use crate::wire::{BYTES, FIXED64, Reader, VARINT};

/// A message.
pub(super) struct Message {
    /// Sorted by nothing; at most a dozen.
    pub(super) fields: &'static [Field],
}

/// A field of a message.
pub(super) struct Field {
    pub(super) number: u32,
    /// As JSON spells it.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) repeated: bool,
}

/// What a field holds.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Message(&'static Message),
    Text,
    /// Bytes that JSON has in base64.
    Bytes,
    /// Bytes that JSON has in hexadecimal.
    Id,
    Bool,
    /// A number with names, from 0 on.
    Enum(&'static [&'static str]),
    Int64,
    Uint64,
    Uint32,
    Sint32,
    Fixed64,
    Sfixed64,
    Double,
}

impl Kind {
    pub(super) fn wire(self) -> u8 {
        match self {
            Kind::Message(_) | Kind::Text | Kind::Bytes | Kind::Id => BYTES,
            Kind::Bool | Kind::Enum(_) | Kind::Int64 | Kind::Uint64 | Kind::Uint32 | Kind::Sint32 => VARINT,
            Kind::Fixed64 | Kind::Sfixed64 | Kind::Double => FIXED64,
        }
    }
}

const fn one(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, repeated: false }
}

const fn many(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, repeated: true }
}

const TEMPORALITY: Kind = Kind::Enum(&[
    "AGGREGATION_TEMPORALITY_UNSPECIFIED",
    "AGGREGATION_TEMPORALITY_DELTA",
    "AGGREGATION_TEMPORALITY_CUMULATIVE",
]);

pub(super) static REQUEST: Message =
    Message { fields: &[many(1, "resourceMetrics", Kind::Message(&RESOURCE_METRICS))] };
pub(super) static RESOURCE_METRICS: Message = Message {
    fields: &[
        one(1, "resource", Kind::Message(&RESOURCE)),
        many(2, "scopeMetrics", Kind::Message(&SCOPE_METRICS)),
        one(3, "schemaUrl", Kind::Text),
    ],
};
pub(super) static RESOURCE: Message = Message {
    fields: &[
        many(1, "attributes", Kind::Message(&KEY_VALUE)),
        one(2, "droppedAttributesCount", Kind::Uint32),
    ],
};
pub(super) static SCOPE_METRICS: Message = Message {
    fields: &[
        one(1, "scope", Kind::Message(&SCOPE)),
        many(2, "metrics", Kind::Message(&METRIC)),
        one(3, "schemaUrl", Kind::Text),
    ],
};
pub(super) static SCOPE: Message = Message {
    fields: &[
        one(1, "name", Kind::Text),
        one(2, "version", Kind::Text),
        many(3, "attributes", Kind::Message(&KEY_VALUE)),
        one(4, "droppedAttributesCount", Kind::Uint32),
    ],
};
pub(super) static METRIC: Message = Message {
    fields: &[
        one(1, "name", Kind::Text),
        one(2, "description", Kind::Text),
        one(3, "unit", Kind::Text),
        one(5, "gauge", Kind::Message(&GAUGE)),
        one(7, "sum", Kind::Message(&SUM)),
        one(9, "histogram", Kind::Message(&HISTOGRAM)),
        one(10, "exponentialHistogram", Kind::Message(&EXPONENTIAL)),
        one(11, "summary", Kind::Message(&SUMMARY)),
        many(12, "metadata", Kind::Message(&KEY_VALUE)),
    ],
};
pub(super) static GAUGE: Message = Message { fields: &[many(1, "dataPoints", Kind::Message(&NUMBER))] };
pub(super) static SUM: Message = Message {
    fields: &[
        many(1, "dataPoints", Kind::Message(&NUMBER)),
        one(2, "aggregationTemporality", TEMPORALITY),
        one(3, "isMonotonic", Kind::Bool),
    ],
};
pub(super) static HISTOGRAM: Message = Message {
    fields: &[
        many(1, "dataPoints", Kind::Message(&HISTOGRAM_POINT)),
        one(2, "aggregationTemporality", TEMPORALITY),
    ],
};
pub(super) static EXPONENTIAL: Message = Message {
    fields: &[
        many(1, "dataPoints", Kind::Message(&EXPONENTIAL_POINT)),
        one(2, "aggregationTemporality", TEMPORALITY),
    ],
};
pub(super) static SUMMARY: Message =
    Message { fields: &[many(1, "dataPoints", Kind::Message(&SUMMARY_POINT))] };
pub(super) static NUMBER: Message = Message {
    fields: &[
        one(2, "startTimeUnixNano", Kind::Fixed64),
        one(3, "timeUnixNano", Kind::Fixed64),
        one(4, "asDouble", Kind::Double),
        many(5, "exemplars", Kind::Message(&EXEMPLAR)),
        one(6, "asInt", Kind::Sfixed64),
        many(7, "attributes", Kind::Message(&KEY_VALUE)),
        one(8, "flags", Kind::Uint32),
    ],
};
pub(super) static HISTOGRAM_POINT: Message = Message {
    fields: &[
        one(2, "startTimeUnixNano", Kind::Fixed64),
        one(3, "timeUnixNano", Kind::Fixed64),
        one(4, "count", Kind::Fixed64),
        one(5, "sum", Kind::Double),
        many(6, "bucketCounts", Kind::Fixed64),
        many(7, "explicitBounds", Kind::Double),
        many(8, "exemplars", Kind::Message(&EXEMPLAR)),
        many(9, "attributes", Kind::Message(&KEY_VALUE)),
        one(10, "flags", Kind::Uint32),
        one(11, "min", Kind::Double),
        one(12, "max", Kind::Double),
    ],
};
pub(super) static EXPONENTIAL_POINT: Message = Message {
    fields: &[
        many(1, "attributes", Kind::Message(&KEY_VALUE)),
        one(2, "startTimeUnixNano", Kind::Fixed64),
        one(3, "timeUnixNano", Kind::Fixed64),
        one(4, "count", Kind::Fixed64),
        one(5, "sum", Kind::Double),
        one(6, "scale", Kind::Sint32),
        one(7, "zeroCount", Kind::Fixed64),
        one(8, "positive", Kind::Message(&BUCKETS)),
        one(9, "negative", Kind::Message(&BUCKETS)),
        one(10, "flags", Kind::Uint32),
        many(11, "exemplars", Kind::Message(&EXEMPLAR)),
        one(12, "min", Kind::Double),
        one(13, "max", Kind::Double),
        one(14, "zeroThreshold", Kind::Double),
    ],
};
pub(super) static BUCKETS: Message =
    Message { fields: &[one(1, "offset", Kind::Sint32), many(2, "bucketCounts", Kind::Uint64)] };
pub(super) static SUMMARY_POINT: Message = Message {
    fields: &[
        one(2, "startTimeUnixNano", Kind::Fixed64),
        one(3, "timeUnixNano", Kind::Fixed64),
        one(4, "count", Kind::Fixed64),
        one(5, "sum", Kind::Double),
        many(6, "quantileValues", Kind::Message(&QUANTILE)),
        many(7, "attributes", Kind::Message(&KEY_VALUE)),
        one(8, "flags", Kind::Uint32),
    ],
};
pub(super) static QUANTILE: Message =
    Message { fields: &[one(1, "quantile", Kind::Double), one(2, "value", Kind::Double)] };
pub(super) static EXEMPLAR: Message = Message {
    fields: &[
        one(2, "timeUnixNano", Kind::Fixed64),
        one(3, "asDouble", Kind::Double),
        one(4, "spanId", Kind::Id),
        one(5, "traceId", Kind::Id),
        one(6, "asInt", Kind::Sfixed64),
        many(7, "filteredAttributes", Kind::Message(&KEY_VALUE)),
    ],
};
pub(super) static KEY_VALUE: Message =
    Message { fields: &[one(1, "key", Kind::Text), one(2, "value", Kind::Message(&ANY))] };
pub(super) static ANY: Message = Message {
    fields: &[
        one(1, "stringValue", Kind::Text),
        one(2, "boolValue", Kind::Bool),
        one(3, "intValue", Kind::Int64),
        one(4, "doubleValue", Kind::Double),
        one(5, "arrayValue", Kind::Message(&ARRAY)),
        one(6, "kvlistValue", Kind::Message(&KEY_VALUES)),
        one(7, "bytesValue", Kind::Bytes),
    ],
};
pub(super) static ARRAY: Message = Message { fields: &[many(1, "values", Kind::Message(&ANY))] };
pub(super) static KEY_VALUES: Message = Message { fields: &[many(1, "values", Kind::Message(&KEY_VALUE))] };

/// Where a message lies in the request.
pub(super) type Range = (usize, usize);

/// A value of a field, as the wire has it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Raw {
    /// A varint or eight bytes.
    Number(u64),
    /// Text, bytes, a message.
    Range(Range),
}

impl Raw {
    pub(super) fn number(self) -> u64 {
        if let Raw::Number(n) = self { n } else { 0 }
    }
    pub(super) fn float(self) -> f64 {
        f64::from_bits(self.number())
    }
    pub(super) fn range(self) -> Range {
        if let Raw::Range(range) = self { range } else { (0, 0) }
    }
    /// A number in zigzag encoding.
    pub(super) fn signed(self) -> i32 {
        crate::wire::zigzag(self.number()) as i32
    }
}

/// Calls `each` with every field of a message that the table knows; packed numbers one by one.
pub(super) fn each_field(
    message: &'static Message,
    body: &[u8],
    range: Range,
    mut each: impl FnMut(u32, Raw) -> Result<(), WireError>,
) -> Result<(), WireError> {
    let mut r = Reader::range(body, range.0, range.1);
    while !r.done() {
        let (number, wire) = r.tag()?;
        let Some(field) = message.fields.iter().find(|f| f.number == number) else {
            r.skip(wire)?;
            continue;
        };
        let own = field.kind.wire();
        if wire == own {
            each(number, raw(&mut r, own)?)?;
        } else if field.repeated && wire == BYTES {
            let (start, end) = r.bytes()?;
            let mut packed = Reader::range(body, start, end);
            while !packed.done() {
                each(number, raw(&mut packed, own)?)?;
            }
        } else {
            return Err(WireError::WrongType { field: field.name, wire });
        }
    }
    Ok(())
}

fn raw(r: &mut Reader<'_>, wire: u8) -> Result<Raw, WireError> {
    Ok(match wire {
        VARINT => Raw::Number(r.varint()?),
        FIXED64 => Raw::Number(r.fixed64()?),
        _ => Raw::Range(r.bytes()?),
    })
}

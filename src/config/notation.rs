//! How single values are written: each type says what it accepts, to whoever writes it and in the schema.
//!
//! Every refusal goes through serde's "expected": `decode` makes a sentence of it.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use bytesize::ByteSize;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{
    Error, IntoDeserializer, SeqAccess, Unexpected, Visitor, value::SeqAccessDeserializer,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::WorkerCount;

mod limit;
mod preload;
mod ratio;

pub(super) use limit::Limit;
pub(super) use ratio::Ratio;

/// A whole number between two bounds, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whole<const MIN: u32, const MAX: u32>(pub(super) u32);

impl<const MIN: u32, const MAX: u32> Serialize for Whole<MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

impl<'de, const MIN: u32, const MAX: u32> Deserialize<'de> for Whole<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number<const MIN: u32, const MAX: u32>;
        impl<const MIN: u32, const MAX: u32> Visitor<'_> for Number<MIN, MAX> {
            type Value = u32;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{MIN} to {MAX}")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<u32, E> {
                u32::try_from(number)
                    .ok()
                    .filter(|number| (MIN..=MAX).contains(number))
                    .ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
            }
        }
        deserializer.deserialize_any(Number::<MIN, MAX>).map(Self)
    }
}

impl<const MIN: u32, const MAX: u32> JsonSchema for Whole<MIN, MAX> {
    fn schema_name() -> Cow<'static, str> {
        format!("Whole{MIN}To{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

/// A length of time between two bounds in milliseconds, both included: `"1m 30s"`, or a number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Period<const MIN: u64, const MAX: u64>(pub(super) Duration);

impl<const MIN: u64, const MAX: u64> Period<MIN, MAX> {
    const BOUNDS: (Duration, Duration) = (Duration::from_millis(MIN), Duration::from_millis(MAX));

    /// The bounds in words.
    fn range() -> String {
        let (least, most) = Self::BOUNDS;
        format!(
            "{} to {}",
            humantime::format_duration(least),
            humantime::format_duration(most)
        )
    }
}

impl<const MIN: u64, const MAX: u64> Serialize for Period<MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(self.0))
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Period<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Time<const MIN: u64, const MAX: u64>;
        impl<const MIN: u64, const MAX: u64> Time<MIN, MAX> {
            fn within<E: Error>(
                &self,
                time: Option<Duration>,
                found: Unexpected<'_>,
            ) -> Result<Duration, E> {
                let (least, most) = Period::<MIN, MAX>::BOUNDS;
                time.filter(|time| (least..=most).contains(time))
                    .ok_or_else(|| E::invalid_value(found, self))
            }
        }
        impl<const MIN: u64, const MAX: u64> Visitor<'_> for Time<MIN, MAX> {
            type Value = Duration;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                let range = Period::<MIN, MAX>::range();
                write!(formatter, "a time of {range}, such as \"10s\" or \"500ms\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
                self.within(humantime::parse_duration(text).ok(), Unexpected::Str(text))
            }

            fn visit_i64<E: Error>(self, seconds: i64) -> Result<Duration, E> {
                let time = u64::try_from(seconds).ok().map(Duration::from_secs);
                self.within(time, Unexpected::Signed(seconds))
            }

            fn visit_f64<E: Error>(self, seconds: f64) -> Result<Duration, E> {
                let time = Duration::try_from_secs_f64(seconds).ok();
                self.within(time, Unexpected::Float(seconds))
            }
        }
        deserializer.deserialize_any(Time::<MIN, MAX>).map(Self)
    }
}

impl<const MIN: u64, const MAX: u64> JsonSchema for Period<MIN, MAX> {
    fn schema_name() -> Cow<'static, str> {
        format!("Period{MIN}To{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let (least, most) = Self::BOUNDS;
        json_schema!({
            "anyOf": [
                { "type": "string", "title": format!("a time of {}, such as \"10s\" or \"500ms\"", Self::range()) },
                { "type": "number", "title": "seconds", "minimum": least.as_secs_f64(), "maximum": most.as_secs_f64() },
            ]
        })
    }
}

/// A size in bytes between two bounds, both included, and with `OR_NONE` also 0: `"512MiB"`, or a number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size<const MIN: u64, const MAX: u64, const OR_NONE: bool = true>(pub(super) u64);

impl<const MIN: u64, const MAX: u64, const OR_NONE: bool> Size<MIN, MAX, OR_NONE> {
    /// What is accepted, in words.
    fn expected() -> String {
        let (least, most) = (Exact(MIN), Exact(MAX));
        let example = Exact((512 * bytesize::MIB).clamp(MIN, MAX));
        let none = if OR_NONE { "0, or " } else { "" };
        format!("{none}a size of {least} to {most}, such as \"{example}\"")
    }
}

/// A size in the largest unit of which it is a whole number.
struct Exact(u64);

impl fmt::Display for Exact {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [
            (bytesize::TIB, "TiB"),
            (bytesize::GIB, "GiB"),
            (bytesize::MIB, "MiB"),
            (bytesize::KIB, "KiB"),
        ];
        let whole = |(unit, _): &(u64, &str)| self.0 > 0 && self.0.is_multiple_of(*unit);
        match units.into_iter().find(whole) {
            Some((unit, name)) => write!(formatter, "{}{name}", self.0 / unit),
            None => write!(formatter, "{}B", self.0),
        }
    }
}

impl<const MIN: u64, const MAX: u64, const OR_NONE: bool> Serialize for Size<MIN, MAX, OR_NONE> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            0 => serializer.serialize_u64(0),
            bytes => serializer.collect_str(&Exact(bytes)),
        }
    }
}

impl<'de, const MIN: u64, const MAX: u64, const OR_NONE: bool> Deserialize<'de>
    for Size<MIN, MAX, OR_NONE>
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes<const MIN: u64, const MAX: u64, const OR_NONE: bool>;
        impl<const MIN: u64, const MAX: u64, const OR_NONE: bool> Bytes<MIN, MAX, OR_NONE> {
            fn within<E: Error>(&self, size: Option<u64>, found: Unexpected<'_>) -> Result<u64, E> {
                size.filter(|size| (OR_NONE && *size == 0) || (MIN..=MAX).contains(size))
                    .ok_or_else(|| E::invalid_value(found, self))
            }
        }
        impl<const MIN: u64, const MAX: u64, const OR_NONE: bool> Visitor<'_> for Bytes<MIN, MAX, OR_NONE> {
            type Value = u64;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&Size::<MIN, MAX, OR_NONE>::expected())
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
                let size = text.parse().map(|ByteSize(bytes)| bytes);
                self.within(size.ok(), Unexpected::Str(text))
            }

            fn visit_i64<E: Error>(self, bytes: i64) -> Result<u64, E> {
                self.within(u64::try_from(bytes).ok(), Unexpected::Signed(bytes))
            }
        }
        deserializer
            .deserialize_any(Bytes::<MIN, MAX, OR_NONE>)
            .map(Self)
    }
}

impl<const MIN: u64, const MAX: u64, const OR_NONE: bool> JsonSchema for Size<MIN, MAX, OR_NONE> {
    fn schema_name() -> Cow<'static, str> {
        let none = if OR_NONE { "OrNone" } else { "" };
        format!("Size{MIN}To{MAX}{none}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string", "title": Self::expected() },
                { "type": "integer", "title": "bytes", "minimum": if OR_NONE { 0 } else { MIN }, "maximum": MAX },
            ]
        })
    }
}

/// Permission bits in octal digits, as in chmod(1): `"0660"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Octal(pub(super) u32);

impl Octal {
    const EXPECTED: &str = "permission bits in quotes, \"0000\" to \"0777\"";
}

impl Serialize for Octal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:04o}", self.0))
    }
}

impl<'de> Deserialize<'de> for Octal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bits;
        impl Visitor<'_> for Bits {
            type Value = u32;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(Octal::EXPECTED)
            }

            // A bare 660 is refused: TOML would read it as a decimal number, which is never meant.
            fn visit_str<E: Error>(self, text: &str) -> Result<u32, E> {
                let is_octal = (3..=4).contains(&text.len())
                    && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
                u32::from_str_radix(text, 8)
                    .ok()
                    .filter(|bits| is_octal && *bits <= 0o777)
                    .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Bits).map(Self)
    }
}

impl JsonSchema for Octal {
    fn schema_name() -> Cow<'static, str> {
        "Octal".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^0?[0-7]{3}$" })
    }
}

/// Text that is not empty and has no control characters: names, addresses, paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct Text(pub(super) String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() || text.chars().any(char::is_control) {
            let expected = "a string that is not empty and has no control characters";
            return Err(D::Error::invalid_value(Unexpected::Str(&text), &expected));
        }
        Ok(Self(text))
    }
}

impl JsonSchema for Text {
    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}

/// A [`Text`], or the empty text for none, where there is a default that is not none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TextOrNone(pub(super) Option<Text>);

impl<'de> Deserialize<'de> for TextOrNone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(Self(None));
        }
        Text::deserialize(text.into_deserializer()).map(|text| Self(Some(text)))
    }
}

impl Serialize for TextOrNone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.0.as_ref().map(|Text(text)| text.as_str());
        serializer.serialize_str(text.unwrap_or_default())
    }
}

impl JsonSchema for TextOrNone {
    fn schema_name() -> Cow<'static, str> {
        "TextOrNone".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// One value, or an array of them; shown as an array.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct OneOrMany<T>(pub(super) Vec<T>);

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
            type Value = Vec<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string or an array of strings")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Vec<T>, E> {
                let one: serde::de::value::StrDeserializer<'_, E> =
                    IntoDeserializer::into_deserializer(text);
                Ok(vec![T::deserialize(one)?])
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Vec<T>, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(items))
            }
        }
        deserializer
            .deserialize_any(Items(std::marker::PhantomData))
            .map(Self)
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

impl Serialize for WorkerCount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Fixed(count) => serializer.serialize_u16(*count),
        }
    }
}

impl<'de> Deserialize<'de> for WorkerCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Count;
        impl Visitor<'_> for Count {
            type Value = WorkerCount;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("1 to 512 or \"auto\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<WorkerCount, E> {
                match text {
                    "auto" => Ok(WorkerCount::Auto),
                    other => Err(E::invalid_value(Unexpected::Str(other), &self)),
                }
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<WorkerCount, E> {
                u16::try_from(number)
                    .ok()
                    .filter(|count| (1..=512).contains(count))
                    .map(WorkerCount::Fixed)
                    .ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
            }
        }
        deserializer.deserialize_any(Count)
    }
}

impl JsonSchema for WorkerCount {
    fn schema_name() -> Cow<'static, str> {
        "WorkerCount".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": "auto" }, { "type": "integer", "minimum": 1, "maximum": 512 }] })
    }
}

//! How often something may happen, as Django REST Framework writes it: `10/min`.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::{Rate, RatePeriod};

/// At most so many within so long, as Django REST Framework writes it: `"10/min"`; or `"off"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) struct Limit(pub(in crate::config) Option<Rate>);

impl Limit {
    const EXPECTED: &str =
        "a rate such as \"10/min\", \"5/s\", \"100/hour\" or \"1000/day\", or \"off\"";
    /// The words of each period; the first is how it is shown.
    const PERIODS: [(RatePeriod, &[&str]); 4] = [
        (RatePeriod::Second, &["s", "sec", "second"]),
        (RatePeriod::Minute, &["min", "m", "minute"]),
        (RatePeriod::Hour, &["hour", "h"]),
        (RatePeriod::Day, &["day", "d"]),
    ];
    const MOST: u32 = 1_000_000;

    fn read(text: &str) -> Option<Self> {
        if text == "off" {
            return Some(Self(None));
        }
        let (count, word) = text.split_once('/')?;
        // A plain number: what else the parser takes, `+10`, nobody means.
        let is_plain = !count.starts_with('0') && count.bytes().all(|byte| byte.is_ascii_digit());
        let count: NonZeroU32 = count.parse().ok().filter(|_| is_plain)?;
        let mut periods = Self::PERIODS.into_iter();
        let (per, _) = periods.find(|(_, words)| words.contains(&word))?;
        (count.get() <= Self::MOST).then_some(Self(Some(Rate { count, per })))
    }
}

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(rate) => serializer.collect_str(&rate),
            None => serializer.serialize_str("off"),
        }
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;
        impl Visitor<'_> for Written {
            type Value = Limit;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(Limit::EXPECTED)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Limit, E> {
                Limit::read(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Written)
    }
}

impl JsonSchema for Limit {
    fn schema_name() -> Cow<'static, str> {
        "Limit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words: Vec<&str> = Self::PERIODS
            .iter()
            .flat_map(|(_, words)| words.iter().copied())
            .collect();
        let pattern = format!("^(off|[1-9][0-9]{{0,6}}/({}))$", words.join("|"));
        json_schema!({ "type": "string", "pattern": pattern, "title": Self::EXPECTED })
    }
}

//! Lists of what was revoked before it expires, as JSON: `{"revoked": [{"jti": "…"}, {"sub": "42", "issued_before": 1767225600},
//! {"sid": "…"}]}`. An entry may be for one issuer only (`iss`), and may say when it is of no use any more (`exp`). What is not understood
//! is refused as a whole: an entry that is skipped would let pass what somebody wanted stopped.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Claims;

/// Why something is no deny list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DenyListError {
    /// Not the JSON that was expected.
    #[error("it is not a deny list, such as {{\"revoked\": [{{\"jti\": \"…\"}}]}}: {0}")]
    Syntax(String),
    /// An entry must say one thing.
    #[error(
        "entry {0} must have exactly one of `jti`, `sub` and `sid`, each a text that is not empty"
    )]
    Entry(usize),
    /// Only for `sub`.
    #[error("entry {0} has `issued_before`, which goes with `sub` only")]
    IssuedBefore(usize),
}

/// A deny list as it is written, for whoever changes one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DenyListText {
    /// What was revoked.
    pub revoked: Vec<Revoked>,
}

/// One entry: exactly one of `jti`, `sub` and `sid`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Revoked {
    /// The token of this name (RFC 7519 section 4.1.7).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// Every token of this subject; for the token service, the user's number is one too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// Every token of this session (`OpenID` Connect Front-Channel Logout section 3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// Of a subject: only those issued before, in seconds since 1970; one that does not say when it was issued is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_before: Option<u64>,
    /// Only tokens of this issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// When the last of these tokens has expired, in seconds since 1970: then the entry may go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp: Option<u64>,
}

impl DenyListText {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with the first thing that is wrong.
    pub fn parse(json: &[u8]) -> Result<Self, DenyListError> {
        let mut revoked = Vec::new();
        read(json, |entry| {
            let text = |text: Option<Text<'_>>| text.map(|text| text.0.into_owned());
            revoked.push(Revoked {
                jti: text(entry.jti),
                sub: text(entry.sub),
                sid: text(entry.sid),
                issued_before: entry.issued_before,
                iss: text(entry.iss),
                exp: entry.exp,
            });
        })?;
        Ok(Self { revoked })
    }
}

/// A list, ready to be asked. It takes as much memory as the names on it and 24 bytes for each.
#[derive(Debug, Default)]
pub struct DenyList {
    jti: Names,
    sub: Names,
    sid: Names,
    issuers: Vec<Box<str>>,
}

/// The names of one kind, in one piece.
#[derive(Default)]
struct Names {
    text: String,
    /// In the order of their names.
    entries: Vec<Listed>,
}

/// One name, and which of the tokens that carry it are meant.
#[derive(Clone, Copy)]
struct Listed {
    /// Those that were issued before: all, where it is as great as can be.
    issued_before: u64,
    /// Where the name stands.
    start: u32,
    length: u32,
    /// The place of the issuer whose tokens are meant, or [`ANY_ISSUER`].
    issuer: u32,
}

const ANY_ISSUER: u32 = u32::MAX;

impl DenyList {
    /// Reads it from its JSON.
    ///
    /// # Errors
    /// As [`DenyListText::parse`].
    pub fn parse(json: &[u8]) -> Result<Self, DenyListError> {
        if u32::try_from(json.len()).is_err() {
            return Err(DenyListError::Syntax("it is too long".to_owned()));
        }
        let mut list = Self::default();
        let mut places = BTreeMap::new();
        read(json, |entry| list.add(&entry, &mut places))?;
        for names in [&mut list.jti, &mut list.sub, &mut list.sid] {
            names.close();
        }
        Ok(list)
    }

    /// Whether it is one; keeps nothing of it.
    ///
    /// # Errors
    /// As [`DenyListText::parse`].
    pub fn check(json: &[u8]) -> Result<(), DenyListError> {
        read(json, |_| ())
    }

    fn add(&mut self, entry: &Entry<'_>, places: &mut BTreeMap<Box<str>, u32>) {
        let issuer = entry.iss.as_ref().map_or(ANY_ISSUER, |Text(iss)| {
            if let Some(place) = places.get(&**iss) {
                return *place;
            }
            let place = number(self.issuers.len());
            self.issuers.push((&**iss).into());
            places.insert((&**iss).into(), place);
            place
        });
        let issued_before = entry.issued_before.unwrap_or(u64::MAX);
        let kinds = [
            (&entry.jti, &mut self.jti),
            (&entry.sub, &mut self.sub),
            (&entry.sid, &mut self.sid),
        ];
        for (name, names) in kinds {
            if let Some(Text(name)) = name {
                names.add(name, issued_before, issuer);
            }
        }
    }

    /// By which claim a token with these claims is on the list; `users` are the claims that name a subject.
    pub(super) fn find(&self, claims: &Claims, users: &[String]) -> Option<&'static str> {
        let names = |names: &Names, claim: &str| match claims.get(claim) {
            Some(Value::String(text)) => self.covers(names, text, claims),
            Some(Value::Number(number)) => self.covers(names, &number.to_string(), claims),
            Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => false,
        };
        if names(&self.jti, "jti") {
            return Some("jti");
        }
        if names(&self.sid, "sid") {
            return Some("sid");
        }
        let is_subject =
            !self.sub.entries.is_empty() && users.iter().any(|claim| names(&self.sub, claim));
        is_subject.then_some("sub")
    }

    fn covers(&self, names: &Names, name: &str, claims: &Claims) -> bool {
        // Almost every token is on no list.
        let mut listed = names.find(name).peekable();
        if listed.peek().is_none() {
            return false;
        }
        let iss = claims.get("iss").and_then(Value::as_str);
        let issued = claims.issued_at();
        listed.any(|listed| {
            let is_of_issuer = listed.issuer == ANY_ISSUER || self.issuer(listed) == iss;
            let is_of_time = issued.is_none_or(|issued| {
                u64::try_from(issued).map_or(true, |at| at < listed.issued_before)
            });
            is_of_issuer && is_of_time
        })
    }

    fn issuer(&self, listed: &Listed) -> Option<&str> {
        let place = usize::try_from(listed.issuer).ok()?;
        self.issuers.get(place).map(|issuer| &**issuer)
    }
}

impl Names {
    fn add(&mut self, name: &str, issued_before: u64, issuer: u32) {
        self.entries.push(Listed {
            issued_before,
            start: number(self.text.len()),
            length: number(name.len()),
            issuer,
        });
        self.text.push_str(name);
    }

    /// Nothing is added any more.
    fn close(&mut self) {
        let text = &self.text;
        let entries = &mut self.entries;
        entries.sort_unstable_by(|one, other| one.name(text).cmp(other.name(text)));
        entries.shrink_to_fit();
        self.text.shrink_to_fit();
    }

    fn find(&self, name: &str) -> impl Iterator<Item = &Listed> {
        let is_before = |listed: &Listed| listed.name(&self.text) < name;
        let first = self.entries.partition_point(is_before);
        let rest = self.entries.get(first..).unwrap_or_default().iter();
        rest.take_while(move |listed| listed.name(&self.text) == name)
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} names", self.entries.len())
    }
}

impl Listed {
    fn name(self, text: &str) -> &str {
        let place = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let start = place(self.start);
        let end = start.saturating_add(place(self.length));
        text.get(start..end).unwrap_or_default()
    }
}

/// A place in a list whose length was found to be such a number.
fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

/// An entry as it stands in the JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry<'a> {
    #[serde(borrow)]
    jti: Option<Text<'a>>,
    #[serde(borrow)]
    sub: Option<Text<'a>>,
    #[serde(borrow)]
    sid: Option<Text<'a>>,
    issued_before: Option<u64>,
    #[serde(borrow)]
    iss: Option<Text<'a>>,
    exp: Option<u64>,
}

/// A text that is copied only where something in it is escaped.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Entry<'_> {
    /// What is wrong with it, the `number`th.
    fn problem(&self, number: usize) -> Option<DenyListError> {
        let what = [&self.jti, &self.sub, &self.sid];
        let mut given = what.into_iter().flatten();
        let is_one = given.next().is_some_and(|Text(text)| !text.is_empty());
        if !is_one || given.next().is_some() {
            return Some(DenyListError::Entry(number));
        }
        (self.issued_before.is_some() && self.sub.is_none())
            .then_some(DenyListError::IssuedBefore(number))
    }
}

/// Gives away one entry after the other; none of them is kept, for a list may have half a million.
fn read(json: &[u8], mut take: impl FnMut(Entry<'_>)) -> Result<(), DenyListError> {
    let mut number = 0;
    let mut problem = None;
    let syntax = |error: serde_json::Error| DenyListError::Syntax(error.to_string());
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let list = List(|entry: Entry<'_>| {
        number += 1;
        if problem.is_none() {
            problem = entry.problem(number);
        }
        if problem.is_none() {
            take(entry);
        }
    });
    deserializer.deserialize_map(list).map_err(syntax)?;
    deserializer.end().map_err(syntax)?;
    problem.map_or(Ok(()), Err)
}

/// The whole; each entry is handed to the function.
struct List<F>(F);

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Member {
    Revoked,
}

impl<'de, F: FnMut(Entry<'de>)> Visitor<'de> for List<F> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with the member `revoked`")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut is_read = false;
        while let Some(Member::Revoked) = map.next_key()? {
            if is_read {
                return Err(A::Error::duplicate_field("revoked"));
            }
            map.next_value_seed(Entries(&mut self.0))?;
            is_read = true;
        }
        if is_read {
            Ok(())
        } else {
            Err(A::Error::missing_field("revoked"))
        }
    }
}

/// The entries.
struct Entries<'f, F>(&'f mut F);

impl<'de, F: FnMut(Entry<'de>)> DeserializeSeed<'de> for Entries<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, F: FnMut(Entry<'de>)> Visitor<'de> for Entries<'_, F> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(entry) = entries.next_element()? {
            (self.0)(entry);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wrong_is_told_with_the_number_of_the_entry() {
        for (list, problem) in [
            (
                json!({"revoked": [{"jti": "a"}, {}]}),
                DenyListError::Entry(2),
            ),
            (
                json!({"revoked": [{"jti": "b", "issued_before": 1}, {}]}),
                DenyListError::IssuedBefore(1),
            ),
        ] {
            let list = list.to_string();
            assert_eq!(DenyList::check(list.as_bytes()), Err(problem.clone()));
            assert_eq!(DenyList::parse(list.as_bytes()).err(), Some(problem));
        }
        for list in [
            "",
            "[]",
            "[[]]",
            "{}",
            r#"{"revoked":[]} x"#,
            r#"{"revoked":[],"revoked":[]}"#,
            r#"{"revoked":[{"jti":"a","jti":"b"}]}"#,
        ] {
            let refused = DenyList::check(list.as_bytes());
            assert!(matches!(refused, Err(DenyListError::Syntax(_))), "{list}");
        }
    }

    #[test]
    fn a_list_is_read_as_it_was_written() {
        let list = DenyListText {
            revoked: vec![
                Revoked {
                    jti: Some("a \"quoted\" name".to_owned()),
                    iss: Some("https://one".to_owned()),
                    exp: Some(7),
                    ..Revoked::default()
                },
                Revoked {
                    sub: Some("42".to_owned()),
                    issued_before: Some(8),
                    ..Revoked::default()
                },
            ],
        };
        let text = serde_json::to_vec(&list).unwrap();
        assert_eq!(DenyListText::parse(&text).unwrap(), list);
    }

    proptest! {
        #[test]
        fn a_name_is_found_where_it_was_listed_and_no_other(
            listed in prop::collection::btree_set("[a-c\"\\\\é]{1,3}", 0..20),
            asked in prop::collection::vec("[a-c\"\\\\é]{1,3}", 20),
        ) {
            let entries: Vec<_> = listed.iter().map(|jti| json!({ "jti": jti })).collect();
            let list = json!({ "revoked": entries }).to_string();
            let list = DenyList::parse(list.as_bytes()).unwrap();
            let names: BTreeSet<_> = listed.iter().chain(&asked).collect();
            for name in names {
                let claims = Claims::new(json!({ "jti": name }).as_object().unwrap().clone());
                prop_assert_eq!(list.find(&claims, &[]).is_some(), listed.contains(name), "{}", name);
            }
        }

        #[test]
        fn no_bytes_can_make_it_panic(bytes: Vec<u8>) {
            let _refused = DenyList::parse(&bytes);
        }
    }
}

//! JSON bodies checked against the JSON Schema that the API's description publishes, and every fault told at once in
//! the words of class-validator, which the dashboard shows as they are.

use std::collections::{BTreeSet, HashSet};

use jsonschema::{ValidationError, Validator, error::ValidationErrorKind};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::time;
use crate::domain::text::{cut_to_bytes, is_blank};

/// How many faults of one body are named; of the others it is said how many they are.
pub const FAULTS_MAX: usize = 20;
/// The longest sentence about a fault, in bytes. All sentences together are less than 4 KiB.
const SENTENCE_MAX: usize = 190;
/// The longest name of a field that is told, in bytes: longer than any that a body has.
const NAME_MAX: usize = 64;

/// What is wrong with a body, one sentence for each fault: at most [`FAULTS_MAX`] and one that counts the others, less
/// than 4 KiB in all, however many there are and however long what was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct Faults(Vec<String>);

impl Faults {
    /// The faults in their order, each said once.
    #[must_use]
    pub fn new(sentences: impl IntoIterator<Item = String>) -> Self {
        let mut known = HashSet::new();
        let (mut told, mut more) = (Vec::new(), 0_usize);
        for sentence in sentences {
            if !known.insert(sentence.clone()) {
                continue;
            }
            if told.len() == FAULTS_MAX {
                more += 1;
            } else {
                told.push(cut_to_bytes(&sentence, SENTENCE_MAX).into_owned());
            }
        }
        if more > 0 {
            told.push(format!("and {more} more"));
        }
        Self(told)
    }

    /// A single fault.
    #[must_use]
    pub fn one(sentence: &str) -> Self {
        Self::new([sentence.to_owned()])
    }

    /// The sentences.
    #[must_use]
    pub fn into_sentences(self) -> Vec<String> {
        self.0
    }
}

/// Why bytes are no body of the kind that was wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// No JSON at all, with the parser's words.
    #[error("{0}")]
    Malformed(String),
    #[error(transparent)]
    Faults(#[from] Faults),
}

/// The pattern that every text obeys: Postgres stores no NUL.
const NO_NUL: &str = "^[^\\u0000]*$";

/// A body with a compiled schema. `checked!` writes the implementation.
pub trait Body: DeserializeOwned + ToSchema {
    fn checker() -> &'static Checker;
}

/// Gives types a schema that is compiled once; a constant, made when it is first needed.
macro_rules! checked {
    ($($body:ty),+ $(,)?) => {
        $(impl $crate::wire::validation::Body for $body {
            fn checker() -> &'static $crate::wire::validation::Checker {
                static CHECKER: std::sync::LazyLock<$crate::wire::validation::Checker> =
                    std::sync::LazyLock::new($crate::wire::validation::Checker::of::<$body>);
                &CHECKER
            }
        })+
    };
}
pub(crate) use checked;

/// The bytes without the byte order mark that some programs on Windows put before UTF-8, which JSON does not allow.
#[must_use]
pub fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// Reads a body. Of a key that is there twice the last one counts, as in JavaScript and Python. In a field that may be
/// left out, a blank text is as good as none: forms send it for what nobody filled in.
///
/// # Errors
/// All that is wrong with it.
pub fn read<T: Body>(bytes: &[u8]) -> Result<T, Unreadable> {
    let body = serde_json::from_slice(without_bom(bytes));
    let mut body: Value = body.map_err(|error| Unreadable::Malformed(error.to_string()))?;
    T::checker().blank_to_null(&mut body);
    T::checker().check(&body)?;
    whole_numbers(&mut body);
    // The types read each field by the rule that the schema checks it by, so that nothing is left to be found here.
    serde_json::from_value(body).map_err(|error| Faults::one(&error.to_string()).into())
}

/// JSON does not tell 2.0 from 2, serde does.
fn whole_numbers(body: &mut Value) {
    let Value::Object(fields) = body else { return };
    for value in fields.values_mut().filter(|value| value.is_f64()) {
        if let Some(whole) = value.as_f64().and_then(whole_double) {
            *value = whole.into();
        }
    }
}

/// The whole number that a double is, if it is one that no other has been rounded to.
#[must_use]
pub fn whole_double(number: f64) -> Option<i64> {
    // Up to 2^53 each whole number has a double of its own.
    #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
    (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
}

/// For optional fields that can be cleared: `None` where the field is missing, `Some(None)` where it is `null`.
///
/// # Errors
/// The deserializer's own.
pub fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Publishes that no text may hold NUL: adds the pattern to each text of a body's schema that has none. A text that is
/// limited by an enumeration, a pattern or a format can hold none anyway.
pub fn publish_no_nul(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let is_text = match fields.get("type") {
                Some(Value::String(kind)) => kind == "string",
                Some(Value::Array(kinds)) => kinds.contains(&json!("string")),
                _ => false,
            };
            if is_text && !["enum", "pattern", "format"].iter().any(|key| fields.contains_key(*key)) {
                fields.insert("pattern".to_owned(), NO_NUL.into());
            }
            fields.values_mut().for_each(publish_no_nul);
        }
        Value::Array(items) => items.iter_mut().for_each(publish_no_nul),
        _ => {}
    }
}

/// A compiled schema of a body, and the words for what is wrong with one.
#[derive(Debug)]
pub struct Checker {
    validator: Validator,
    /// The schema of each property, without references and alternatives.
    properties: Map<String, Value>,
    /// The properties that must be there.
    required: HashSet<String>,
}

impl Checker {
    /// Compiles the schema of a type of our own.
    ///
    /// # Panics
    /// When it is no schema: the type is at fault, and each test that sends such a body finds it.
    #[must_use]
    pub fn of<T: ToSchema>() -> Self {
        let mut referred = Vec::new();
        T::schemas(&mut referred);
        let referred: Map<String, Value> = referred
            .into_iter()
            .map(|(name, schema)| (name, serde_json::to_value(schema).unwrap_or_default()))
            .collect();
        let mut schema = serde_json::to_value(T::schema()).unwrap_or_default();
        publish_no_nul(&mut schema);
        let properties = schema["properties"].as_object().cloned().unwrap_or_default();
        let properties =
            properties.into_iter().map(|(name, schema)| (name, Value::Object(plain(&schema, &referred)))).collect();
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let required = required.map(str::to_owned).collect();
        schema["components"] = json!({"schemas": referred});
        // By the rules that the types read them by.
        let options = jsonschema::draft202012::options()
            .should_validate_formats(true)
            .with_format("uuid", |text: &str| Uuid::try_parse(text).is_ok())
            .with_format("date-time", |text: &str| time::read(text).is_some());
        Self { validator: options.build(&schema).expect("a schema of our own"), properties, required }
    }

    /// Makes `null` of each blank text in a field that may be left out. A password may be made of blanks.
    fn blank_to_null(&self, body: &mut Value) {
        let Value::Object(fields) = body else { return };
        for (name, value) in fields.iter_mut().filter(|(name, _)| !self.required.contains(*name)) {
            let Some(rules) = self.properties.get(name) else { continue };
            let Some(text) = value.as_str() else { continue };
            let is_none = if rules["format"] == "password" { text.is_empty() } else { is_blank(text) };
            if is_none {
                *value = Value::Null;
            }
        }
    }

    /// Whether the body is as it should be.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, body: &Value) -> Result<(), Faults> {
        let mut faults: Vec<_> = self.validator.iter_errors(body).flat_map(|error| self.words(&error, body)).collect();
        if faults.is_empty() {
            return Ok(());
        }
        // Unknown fields come first, as class-validator's whitelisting has them.
        faults.sort_by_key(|fault| !fault.starts_with("property "));
        Err(Faults::new(faults))
    }

    fn words(&self, error: &ValidationError<'_>, body: &Value) -> Vec<String> {
        if let ValidationErrorKind::AdditionalProperties { unexpected } = error.kind() {
            let names = unexpected.iter().map(|name| cut_to_bytes(name, NAME_MAX));
            return names.map(|name| format!("property {name} should not exist")).collect();
        }
        if let ValidationErrorKind::Required { property } = error.kind() {
            let name = property.as_str().unwrap_or_default();
            return self.all_rules(name, None);
        }
        let path = error.instance_path().to_string();
        let Some(name) = path.strip_prefix('/').map(|rest| rest.split('/').next().unwrap_or(rest)) else {
            return vec!["the body must be an object".to_owned()];
        };
        match error.kind() {
            ValidationErrorKind::Minimum { limit } => vec![format!("{name} must not be less than {limit}")],
            ValidationErrorKind::Maximum { limit } => vec![format!("{name} must not be greater than {limit}")],
            ValidationErrorKind::MinLength { limit: 1 } => vec![format!("{name} should not be empty")],
            ValidationErrorKind::MinLength { limit } => {
                vec![format!("{name} must be longer than or equal to {limit} characters")]
            }
            ValidationErrorKind::MaxLength { limit } => {
                vec![format!("{name} must be shorter than or equal to {limit} characters")]
            }
            ValidationErrorKind::Pattern { pattern } if pattern == NO_NUL => {
                vec![format!("{name} must not contain NUL")]
            }
            ValidationErrorKind::Pattern { .. } | ValidationErrorKind::Format { .. } => {
                let rules = self.properties.get(name).and_then(Value::as_object);
                vec![rules.and_then(|rules| form(name, rules)).unwrap_or_else(|| error.to_string())]
            }
            _ => self.all_rules(name, body.get(name)),
        }
    }

    /// What class-validator says of a value that is missing or of the wrong type: each rule that it breaks. Limits on
    /// length from above say nothing of such a value and are left out.
    fn all_rules(&self, name: &str, value: Option<&Value>) -> Vec<String> {
        let Some(rules) = self.properties.get(name).and_then(Value::as_object) else { return Vec::new() };
        let mut words = Vec::new();
        if let Some(limit) = rules.get("maximum").filter(|limit| **limit != json!(i32::MAX)) {
            words.push(format!("{name} must not be greater than {limit}"));
        }
        if let Some(limit) = rules.get("minimum").filter(|limit| **limit != json!(i32::MIN)) {
            words.push(format!("{name} must not be less than {limit}"));
        }
        match rules.get("minLength").and_then(Value::as_u64) {
            Some(1) if value.is_none_or(Value::is_null) => words.push(format!("{name} should not be empty")),
            Some(limit) if limit > 1 => {
                words.push(format!("{name} must be longer than or equal to {limit} characters"));
            }
            _ => {}
        }
        words.extend(form(name, rules).or_else(|| kind(name, rules)));
        words
    }
}

/// What is said of a text that has not the form its property wants.
fn form(name: &str, rules: &Map<String, Value>) -> Option<String> {
    if let Some(allowed) = rules.get("enum").and_then(Value::as_array) {
        let allowed: Vec<_> = allowed.iter().filter_map(Value::as_str).collect();
        return Some(format!("{name} must be one of the following values: {}", allowed.join(", ")));
    }
    match rules.get("format").and_then(Value::as_str) {
        Some("email") => return Some(format!("{name} must be an email")),
        Some("uuid") => return Some(format!("{name} must be a UUID")),
        Some("date-time") => return Some(format!("{name} {}", time::FAULT)),
        Some("url") => return Some(format!("{name} must be a URL address")),
        _ => {}
    }
    let pattern = rules.get("pattern").and_then(Value::as_str).filter(|pattern| *pattern != NO_NUL)?;
    Some(format!("{name} must match /{pattern}/ regular expression"))
}

fn kind(name: &str, rules: &Map<String, Value>) -> Option<String> {
    match rules.get("type").and_then(Value::as_str)? {
        "string" => Some(format!("{name} must be a string")),
        "integer" => Some(format!("{name} must be an integer number")),
        "number" => Some(format!("{name} must be a number conforming to the specified constraints")),
        "boolean" => Some(format!("{name} must be a boolean value")),
        _ => None,
    }
}

/// The keywords of a property's schema in one object: references followed, the alternative `null` left out.
fn plain(schema: &Value, referred: &Map<String, Value>) -> Map<String, Value> {
    let mut keywords = schema.as_object().cloned().unwrap_or_default();
    let reference = keywords.remove("$ref");
    let name = reference.as_ref().and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
    if let Some(target) = name.and_then(|name| referred.get(name)) {
        keywords.extend(plain(target, referred));
    }
    if let Some(Value::Array(alternatives)) = keywords.remove("oneOf") {
        for alternative in alternatives.iter().filter(|alternative| alternative["type"] != "null") {
            keywords.extend(plain(alternative, referred));
        }
    }
    if let Some(Value::Array(kinds)) = keywords.get("type") {
        let kinds: BTreeSet<_> = kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect();
        let kind = kinds.first().copied().unwrap_or_default();
        keywords.insert("type".to_owned(), kind.into());
    }
    keywords
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::user::Role;

    #[derive(Debug, PartialEq, Deserialize, ToSchema)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Example {
        #[schema(min_length = 3, max_length = 5)]
        username: String,
        #[schema(format = Email)]
        email: String,
        #[schema(min_length = 1, max_length = 5)]
        name: Option<String>,
        #[schema(minimum = 0, maximum = 2_147_483_647)]
        person_count: Option<i64>,
        role: Option<Role>,
        is_active: Option<bool>,
        #[schema(format = Password, min_length = 8)]
        password: Option<String>,
    }
    checked!(Example);

    fn faults(body: &str) -> Vec<String> {
        match read::<Example>(body.as_bytes()).expect_err("a fault") {
            Unreadable::Faults(faults) => faults.into_sentences(),
            Unreadable::Malformed(words) => vec![words],
        }
    }

    #[test]
    fn a_good_body_is_read() {
        let body = r#"{"username":"ada","email":"a@b.org","personCount":2.0,"role":"ADMIN","name":null}"#;
        let example = read::<Example>(body.as_bytes()).expect("a body");
        assert_eq!((example.person_count, example.role, example.name), (Some(2), Some(Role::Admin), None));
    }

    #[test]
    fn a_blank_text_is_none_where_there_may_be_none() {
        for blank in ["", " ", "\\t\\n", "\u{2003}"] {
            let body = format!(
                r#"{{"username":"ada","email":"a@b.org","name":"{blank}","personCount":"{blank}","role":"{blank}","isActive":"{blank}"}}"#
            );
            let example = read::<Example>(body.as_bytes()).expect("a body");
            let optional = (example.person_count, example.role, example.name, example.is_active, example.password);
            assert_eq!(optional, (None, None, None, None, None));
        }
        assert_eq!(
            faults(r#"{"username":"","email":"","password":"       "}"#),
            [
                "email must be an email",
                "password must be longer than or equal to 8 characters",
                "username must be longer than or equal to 3 characters"
            ],
            "neither what must be there, nor a password of blanks"
        );
        let body = r#"{"username":"ada","email":"a@b.org","password":""}"#;
        assert_eq!(read::<Example>(body.as_bytes()).expect("a body").password, None);
    }

    #[test]
    fn a_byte_order_mark_is_passed_over_once() {
        let body = r#"{"username":"ada","email":"a@b.org"}"#;
        assert!(read::<Example>(format!("\u{feff}{body}").as_bytes()).is_ok());
        assert!(read::<Example>(format!("\u{feff}\u{feff}{body}").as_bytes()).is_err());
    }

    #[test]
    fn every_fault_is_told_at_once() {
        assert_eq!(
            faults(r#"{"username":"ad","email":"nobody","foo":1,"isActive":"yes","personCount":-1,"role":"KING"}"#),
            [
                "property foo should not exist",
                "email must be an email",
                "isActive must be a boolean value",
                "personCount must not be less than 0",
                "role must be one of the following values: USER, OPERATOR, ADMIN",
                "username must be longer than or equal to 3 characters",
            ]
        );
    }

    #[test]
    fn what_is_missing_breaks_each_rule() {
        assert_eq!(
            faults("{}"),
            [
                "username must be longer than or equal to 3 characters",
                "username must be a string",
                "email must be an email"
            ]
        );
        assert_eq!(faults(r#"{"username":"ada","email":"a@b.org","name":7}"#), ["name must be a string"]);
        let count = faults(r#"{"username":"ada","email":"a@b.org","personCount":"1"}"#);
        assert_eq!(count, ["personCount must not be less than 0", "personCount must be an integer number"]);
    }

    #[test]
    fn nul_and_what_is_no_object_are_refused() {
        let nul = faults(r#"{"username":"a\u0000da","email":"a@b.org"}"#);
        assert_eq!(nul, ["username must not contain NUL"]);
        assert_eq!(faults("[]"), ["the body must be an object"]);
        assert!(faults("{")[0].contains("EOF"));
    }
}

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn faults_of(body: &str) -> Vec<String> {
    decode(CameraId(1), body.as_bytes()).expect_err("a fault").into_sentences()
}

/// By the rule, without the quick way.
fn by_the_rule(body: &[u8]) -> Option<Detection> {
    validation::read::<DetectionBody>(body).ok().and_then(detection)
}

#[test]
fn a_body_becomes_a_detection() {
    let body = r#"{"personCount":2,"confidence":0.5,"detectedAt":"2026-01-02T03:04:05.678901+01:00"}"#;
    let detection = decode(CameraId(3), body.as_bytes()).expect("a detection");
    assert_eq!(detection.camera_id, CameraId(3));
    assert_eq!(detection.person_count, 2);
    assert_eq!(detection.detected_at.map(time::text).as_deref(), Some("2026-01-02T02:04:05.678Z"));
}

#[test]
fn each_fault_is_told() {
    assert_eq!(faults_of(r#"{"personCount":-1}"#), ["personCount must not be less than 0"]);
    assert_eq!(faults_of(r#"{"personCount":1,"confidence":1.5}"#), ["confidence must not be greater than 1"]);
    assert_eq!(faults_of(r#"{"personCount":1,"description":"a\u0000b"}"#), ["description must not contain NUL"]);
    assert_eq!(faults_of(r#"{"personCount":1,"cameraId":1}"#), ["property cameraId should not exist"]);
    assert_eq!(faults_of("[1, 0.5]"), ["the body must be an object"]);
    assert!(faults_of("{").first().is_some_and(|fault| fault.contains("EOF")));
}

#[test]
fn however_much_is_wrong_the_words_are_few() {
    let unknown: serde_json::Map<String, Value> = (0..9000).map(|n| (format!("k{n}"), json!(1))).collect();
    let told = faults_of(&Value::Object(unknown).to_string());
    assert_eq!(told.len(), 21);
    assert_eq!(told[20], "and 8982 more", "9,000 unknown keys, and personCount is missing, which breaks two rules");
    let long = "ü".repeat(30_000);
    for body in [json!({&long: 1}), json!({"personCount": long}), json!({"detectedAt": long}), json!(long)] {
        let words = decode(CameraId(1), body.to_string().as_bytes()).expect_err("a fault").to_string();
        assert!(words.len() < 1000, "{} bytes", words.len());
    }
    let many: serde_json::Map<String, Value> =
        (0..300).map(|n| (format!("{n}{}", "ü".repeat(100)), json!(1))).collect();
    assert!(faults_of(&Value::Object(many).to_string()).join("; ").len() < 4096);
}

/// What engines may send for each field, as JSON text: taken or not is not the question here, but that it is one answer.
const VALUES: [(&str, &[&str]); 7] = [
    ("cameraId", &["1", "1.0", "1e0", "10e-1", "2147483648", "\"1\"", "null", "-0"]),
    (
        "personCount",
        &[
            "1",
            "1.0",
            "1E+0",
            "0",
            "-0",
            "-0.0",
            "1.5",
            "-1",
            "2147483647",
            "2147483648",
            "99999999999999999999",
            "1e400",
            "1e-400",
            "01",
            "\"1\"",
            "\"\"",
            "true",
            "null",
            "[1]",
            "9007199254740993",
        ],
    ),
    ("confidence", &["1", "0.5", "-0.0", "-0", "1.0000000000000002", "1e-400", "\"0.5\"", "\"\"", "null", "NaN"]),
    ("snapshotPath", &["\"/a.jpg\"", "\"\"", "\" \"", "null", "1", "\"\\ud800\"", "\"a\\u0000\""]),
    ("description", &["\"\\ud83d\\ude00\"", "\"\"", "\"\\u2003\"", "null", "{}"]),
    (
        "detectionId",
        &[
            "\"018f5f2a-7b1c-7e4d-8a90-1234567890ab\"",
            "\"018f5f2a7b1c7e4d8a901234567890ab\"",
            "\"018F5F2A7B1C7E4D8A901234567890AB\"",
            "\"{018f5f2a-7b1c-7e4d-8a90-1234567890ab}\"",
            "\"urn:uuid:018f5f2a-7b1c-7e4d-8a90-1234567890ab\"",
            "\"00000000-0000-0000-0000-000000000000\"",
            "\"00000000000000000000000000000000\"",
            "\"ffffffff-ffff-ffff-ffff-ffffffffffff\"",
            "\"018f5f2a-7b1c-7e4d-8a90-1234567890a\"",
            "\"x\"",
            "\"\"",
            "null",
            "7",
        ],
    ),
    (
        "detectedAt",
        &[
            "\"2026-11-27 19:00:00+0100\"",
            "\"2026-11-27t18:00:00.123456789012z\"",
            "\"2016-12-31T23:59:60Z\"",
            "\"2026-11-27T19:00:00\"",
            "\"9999-12-31T23:59:59-01:00\"",
            "\"+12026-01-01T00:00:00Z\"",
            "\"\"",
            "null",
            "1795802400",
        ],
    ),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn both_readers_read_the_same(
        fields in prop::collection::vec((0..VALUES.len(), any::<prop::sample::Index>()), 0..4),
        mark in any::<bool>(),
    ) {
        // What must be there is right at first; what is drawn after it may say it again, and then counts.
        let mut body = r#"{"cameraId":1,"personCount":1"#.to_owned();
        for (field, value) in fields {
            let (name, values) = VALUES[field];
            body = format!(r#"{body},"{name}":{}"#, value.get(values));
        }
        body.push('}');
        let body = if mark { format!("\u{feff}{body}") } else { body };
        prop_assert_eq!(decode_with_camera(body.as_bytes()).ok(), by_the_rule(body.as_bytes()), "{}", body);
    }
}

#[test]
fn a_field_is_read_by_one_rule_whatever_stands_beside_it() {
    let id = "018f5f2a-7b1c-7e4d-8a90-1234567890ab";
    for (count, is_good) in [("1", true), ("1.0", true), ("1e0", true), ("-0", true), ("1.5", false), ("\"1\"", false)]
    {
        for spelling in [id.to_owned(), id.replace('-', ""), format!("{{{id}}}"), id.to_uppercase()] {
            for at in ["2026-11-27 19:00:00+0100", "2026-11-27T18:00:00Z"] {
                let body = format!(r#"{{"personCount":{count},"detectionId":"{spelling}","detectedAt":"{at}"}}"#);
                let Ok(detection) = decode(CameraId(1), body.as_bytes()) else {
                    assert!(!is_good, "{body}");
                    continue;
                };
                assert!(is_good, "{body}");
                assert_eq!(detection.detection_id.map(|id| id.to_string()).as_deref(), Some(id));
                assert_eq!(detection.detected_at.map(time::text).as_deref(), Some("2026-11-27T18:00:00.000Z"));
            }
        }
    }
}

#[test]
fn an_id_that_names_nothing_and_a_blank_text_are_none() {
    for count in ["1", "1.0"] {
        let none = [
            r#""detectionId":"00000000-0000-0000-0000-000000000000""#,
            r#""detectionId":"00000000000000000000000000000000""#,
            r#""detectionId":"ffffffff-ffff-ffff-ffff-ffffffffffff""#,
            r#""detectionId":"","detectedAt":" ","confidence":"","snapshotPath":"","description":"\t""#,
        ];
        for fields in none {
            let body = format!(r#"{{"personCount":{count},{fields}}}"#);
            let read = decode(CameraId(1), body.as_bytes()).expect(&body);
            let plain = decode(CameraId(1), br#"{"personCount":1}"#).expect("a detection");
            assert_eq!(read, plain, "{body}");
        }
    }
}

#[test]
fn a_text_that_is_too_long_is_cut_and_marked() {
    for count in ["1", "1.0"] {
        let long = "ä".repeat(3000);
        let body = format!(r#"{{"personCount":{count},"description":"{long}","snapshotPath":"{long}"}}"#);
        let detection = decode(CameraId(1), body.as_bytes()).expect("a detection");
        for (text, longest) in [(detection.description, DESCRIPTION_MAX), (detection.snapshot_path, SNAPSHOT_PATH_MAX)]
        {
            let text = text.expect("a text");
            assert_eq!(text.chars().count(), longest);
            assert!(text.ends_with("ä…"));
        }
    }
}

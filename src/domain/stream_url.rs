//! What somebody who may look but not administer is shown of a camera's stream: where it is, never what opens it.
//!
//! Cameras take their password in many places: before the host, in the query, as `user=admin&password=…` or
//! `user=admin_password=…_channel=1` in the path, as a bare token in it; and people write them without encoding, so that
//! one with `#`, `/` or `?` in it ends what a reader of URLs takes for the host. No list of such places is whole.
//! So only what is plainly harmless is shown, and of what is in doubt nothing.

/// Schemes of streams. What stands before `://` otherwise is no scheme, and may be anything.
const SCHEMES: &[&str] =
    &["rtsp", "rtsps", "rtspu", "http", "https", "ws", "wss", "webrtc", "rtmp", "rtmps", "rtp", "srt", "udp", "whep"];

/// Words that say that a secret stands nearby; a path with one of them, also as a part of a word, is not shown.
const TELLTALE: &[&str] = &[
    "user", "usr", "pass", "pwd", "psw", "admin", "root", "login", "logon", "auth", "token", "secret", "key", "sig",
    "sign", "cred", "account", "acct", "session", "sid", "jwt", "bearer", "hash", "code", "pin", "nonce", "digest",
];

/// The longest word of a path that is shown, in characters: longer ones are made by machines.
const WORD: usize = 20;
/// The longest number in a path that is shown, in digits: channels, streams and resolutions have no more.
const NUMBER: usize = 4;

/// The URL's scheme, host and port, and its path where that is made of plain words. Never user and password, query and
/// fragment. `None` where it is not sure which part is the host.
///
/// ```
/// # use portcullis::domain::stream_url::harmless;
/// assert_eq!(harmless("rtsp://admin:pw@cam:554/live/ch1?x=1").as_deref(), Some("rtsp://cam:554/live/ch1"));
/// assert_eq!(harmless("rtsp://cam/user=admin&password=pw").as_deref(), Some("rtsp://cam"));
/// assert_eq!(harmless("rtsp://admin:2024#pw@cam/"), None);
/// ```
#[must_use]
pub fn harmless(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    if !SCHEMES.contains(&scheme.as_str()) {
        return None;
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()));
    // An @ after what looks like the end of the host: that was the middle of a password. Readers do not agree on encoded
    // ones, nor on those of other alphabets.
    let late = path.to_ascii_lowercase();
    if late.contains(['@', '＠', '﹫']) || late.contains("%40") || late.contains("%2540") {
        return None;
    }
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if !is_host(host) {
        return None;
    }
    let path = path.split(['?', '#']).next().filter(|path| is_plain(path));
    Some(format!("{scheme}://{host}{}", path.unwrap_or_default()))
}

/// A name or an address, with or without a port, written in the one usual way.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, "")) => return address.parse::<std::net::Ipv6Addr>().is_ok(),
            Some((address, port)) if address.parse::<std::net::Ipv6Addr>().is_ok() => ("v6", port.strip_prefix(':')),
            _ => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, Some("0")),
        },
    };
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    name.len() <= 253 && name.strip_suffix('.').unwrap_or(name).split('.').all(is_label) && port.is_some_and(is_port)
}

/// Whether each part of the path is a word or a number of the kind that cameras' paths are made of.
fn is_plain(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    !TELLTALE.iter().any(|word| lower.contains(word))
        && path.split(['/', '.', '_', '-']).all(|part| part.is_empty() || is_word(part))
        && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte))
}

/// `live`, `Channels`, `h264Preview`, `MediaInput`, `ch01`, `101`; not `S3cretPw`, not `aXf9QeR2`.
fn is_word(part: &str) -> bool {
    let codec = ["h264", "h265", "H264", "H265", "mpeg4", "MPEG4", "mp4", "mp3", "g711"];
    let part = codec.iter().find_map(|codec| part.strip_prefix(codec)).unwrap_or(part);
    let letters = part.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let digits = part.len() - letters.len();
    digits <= NUMBER
        && letters.len() <= WORD
        && letters.bytes().all(|byte| byte.is_ascii_alphabetic())
        && humps(letters) <= 3
}

/// How many words are written together: capitals that follow a small letter, and the first.
fn humps(letters: &str) -> usize {
    let starts = |pair: &[u8]| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase();
    1 + letters.as_bytes().windows(2).filter(|pair| starts(pair)).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn where_a_stream_is_is_shown() {
        for (url, shown) in [
            ("rtsp://u:p@cam.local:554/s", "rtsp://cam.local:554/s"),
            ("rtsp://cam/s", "rtsp://cam/s"),
            ("rtsp://u:p@w@cam/s", "rtsp://cam/s"),
            ("RTSP://u:p@cam.local./s", "rtsp://cam.local./s"),
            ("rtsp://admin@10.0.0.5:554/Streaming/Channels/101", "rtsp://10.0.0.5:554/Streaming/Channels/101"),
            ("rtsp://admin:pw@10.0.0.5/cam/realmonitor?channel=1&subtype=0", "rtsp://10.0.0.5/cam/realmonitor"),
            ("rtsp://cam/h264Preview_01_main", "rtsp://cam/h264Preview_01_main"),
            ("http://cam/axis-media/media.amp", "http://cam/axis-media/media.amp"),
            ("rtsp://u:p@[2001:db8::9]:554/live.sdp", "rtsp://[2001:db8::9]:554/live.sdp"),
            ("rtsp://[2001:db8::9]/live", "rtsp://[2001:db8::9]/live"),
            ("webrtc://cam/1", "webrtc://cam/1"),
            ("https://hub.example:8889/yard/whep", "https://hub.example:8889/yard/whep"),
            ("srt://cam:8890", "srt://cam:8890"),
            ("rtsp://cam/", "rtsp://cam/"),
        ] {
            assert_eq!(harmless(url).as_deref(), Some(shown), "{url}");
        }
    }

    #[test]
    fn of_a_path_in_doubt_only_the_host_is_shown() {
        for url in [
            "rtsp://cam/user=admin&password=S3cretPw&channel=1&stream=0.sdp?",
            "rtsp://cam/user=admin_password=S3cretPw_channel=1_stream=0.sdp",
            "rtsp://cam/11/admin/hunter/live",
            "rtsp://cam/tok/S3cretPw",
            "rtsp://cam/aBcDeFgHiJkLmNoP",
            "rtsp://cam/live;pw=hunter",
            "rtsp://cam/live/%70assword/hunter",
            "rtsp://cam/live/hunter+two",
            "rtsp://cam/live/hünter",
            "rtsp://cam/live/83729182",
            "rtsp://cam/\\hunter",
        ] {
            assert_eq!(harmless(url).as_deref(), Some("rtsp://cam"), "{url}");
        }
    }

    #[test]
    fn where_the_host_is_in_doubt_nothing_is_shown() {
        for url in [
            "rtsp://admin:2024#cam@host/",
            "rtsp://admin:20/24@host/",
            "rtsp://admin:20?24@host/",
            "rtsp://admin:20\\24@host/",
            "rtsp://admin:2024#cam%40host/",
            "rtsp://u:p@pw/x@cam/s",
            "rtsp://u:p@cam.local:554/s?x=@",
            "rtsp://admin:secret",
            "rtsp://admin:2024x/",
            "rtsp://:secret/",
            "rtsp:///secret@cam/",
            "rtsp://",
            "rtsp://se cret/",
            "rtsp://sécret/",
            "rtsp://[::1/secret",
            "rtsp://[secret]/",
            "rtsp://[::1]secret/",
            "secret://cam/",
            "secret",
            "",
        ] {
            assert_eq!(harmless(url), None, "{url}");
        }
    }

    /// What people take as passwords and machines as tokens, with what makes trouble in a URL.
    fn secret() -> impl Strategy<Value = String> {
        ("[A-Za-z0-9]{0,6}", "[a-z][0-9][A-Z]|[#/?@:;&=%!$+~^äß\\\\\\[\\]]", "[A-Za-z0-9#/?@:&=%]{0,8}", "[0-9][a-z]")
            .prop_map(|(begin, odd, middle, end)| format!("Q7z{begin}{odd}{middle}{end}W"))
    }

    proptest! {
        #[test]
        fn a_secret_never_shows_wherever_it_stands(secret in secret(), place in 0..14_usize, encoded in any::<bool>()) {
            let written = if encoded { url::form_urlencoded::byte_serialize(secret.as_bytes()).collect() } else { secret.clone() };
            let url = match place {
                0 => format!("rtsp://admin:{written}@cam:554/live"),
                1 => format!("rtsp://{written}@cam/live"),
                2 => format!("rtsp://{written}:x@cam/live"),
                3 => format!("rtsp://cam/live?user=admin&password={written}"),
                4 => format!("rtsp://cam/live#{written}"),
                5 => format!("rtsp://cam/user=admin&password={written}&channel=1"),
                6 => format!("rtsp://cam/user=admin_password={written}_channel=1"),
                7 => format!("rtsp://cam/{written}"),
                8 => format!("rtsp://cam/live/{written}/1"),
                9 => format!("rtsp://cam/live;{written}"),
                10 => format!("http://cam/admin:{written}/live"),
                11 => format!("rtsp://admin:{written}@[2001:db8::9]:554/live"),
                12 => format!("rtsp://u:p@cam/live?x=1#{written}"),
                _ => format!("{written}://cam/live"),
            };
            let shown = harmless(&url).unwrap_or_default();
            // No piece of it that says anything: of a password that is cut in two, either half would be one.
            for piece in secret.split(|letter: char| !letter.is_alphanumeric()).filter(|piece| piece.len() > 2) {
                prop_assert!(!shown.contains(piece), "{} shows {} of {}", shown, piece, url);
            }
        }

        #[test]
        fn anything_is_read_without_a_panic_and_shown_as_it_stands(url in "\\PC{0,60}|rtsp://\\PC{0,60}") {
            if let Some(shown) = harmless(&url) {
                let (_, rest) = shown.split_once("://").expect("a scheme");
                prop_assert!(url.contains(rest) && !shown.contains(['@', '?', '#', '=', '&', ';', '%']), "{}", shown);
            }
        }
    }
}

use proptest::{collection::vec, prelude::*};

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn proxies() -> Proxies {
    Proxies::read(["127.0.0.1", "10.0.0.0/8", "2001:db8:ffff::/48"]).expect("networks")
}

fn of(peer: &str, headers: &[(&str, &[u8])]) -> Origin {
    Origin::of_request(ip(peer), headers.iter().copied(), &proxies())
}

fn through(hops: &[&str]) -> Address {
    let headers: Vec<_> = hops.iter().map(|line| ("x-forwarded-for", line.as_bytes())).collect();
    of("127.0.0.1", &headers).address()
}

#[test]
fn networks_are_read() {
    for wrong in ["", " ", "10.0.0.0/33", "10.0.0/8", "x", "10.0.0.0/-1", "::/129", "1.2.3.4/", "::ffff:10.0.0.0/64"] {
        assert!(Proxies::read([wrong]).is_err(), "{wrong}");
    }
    for (network, inside, outside) in [
        ("10.1.0.0/16", "10.1.2.3", "10.2.0.1"),
        ("10.1.2.3/16", "::ffff:10.1.9.9", "10.2.0.1"),
        ("0.0.0.0/0", "8.8.8.8", "2001:db8::1"),
        ("::/0", "2001:db8::1", "8.8.8.8"),
        ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("::ffff:10.0.0.0/104", "10.9.9.9", "11.0.0.1"),
    ] {
        let proxies = Proxies::read([network]).expect("a network");
        assert!(proxies.contain(ip(inside)) && !proxies.contain(ip(outside)), "{network}");
    }
}

#[test]
fn only_a_trusted_proxy_is_believed() {
    let known = |text| Address::Known(ip(text));
    assert_eq!(of("192.0.2.9", &[("x-forwarded-for", b"1.2.3.4")]).address(), known("192.0.2.9"));
    assert_eq!(through(&["1.2.3.4, 192.0.2.7"]), known("192.0.2.7"));
    assert_eq!(through(&["1.2.3.4, 192.0.2.7, 10.0.0.2"]), known("192.0.2.7"));
    assert_eq!(through(&["1.2.3.4", "192.0.2.7"]), known("192.0.2.7"));
    assert_eq!(through(&["10.0.0.7"]), known("10.0.0.7"), "its proxy says so");
}

#[test]
fn an_address_is_read_as_proxies_write_it() {
    for (hop, address) in [
        ("203.0.113.5", "203.0.113.5"),
        ("203.0.113.5:41234", "203.0.113.5"),
        ("\"203.0.113.5\"", "203.0.113.5"),
        ("\"203.0.113.5:41234\"", "203.0.113.5"),
        ("2001:db8::9", "2001:db8::9"),
        ("[2001:db8::9]", "2001:db8::9"),
        ("[2001:db8::9]:443", "2001:db8::9"),
        ("\"[2001:db8::9]:443\"", "2001:db8::9"),
        ("\"2001:db8::9\"", "2001:db8::9"),
        ("2001:db8::1:443", "2001:db8::1:443"),
        ("::ffff:203.0.113.5", "203.0.113.5"),
        ("[::ffff:203.0.113.5]:80", "203.0.113.5"),
        ("fe80::1%eth0", "fe80::1"),
        ("\t 203.0.113.5 \t", "203.0.113.5"),
    ] {
        assert_eq!(through(&[hop]), Address::Known(ip(address)), "{hop}");
        assert_eq!(through(&[&format!("nonsense, {hop}")]), Address::Known(ip(address)), "{hop}");
    }
}

#[test]
fn what_cannot_be_read_is_nobody() {
    for hop in [
        "",
        " ",
        ",",
        "unknown",
        "_hidden",
        "203.0.113.5,",
        "203.0.113.5, ",
        "203.0.113",
        "203.0.113.5:",
        "203.0.113.5:x",
        "203.0.113.5:65536",
        "203.0.113.5:+80",
        "203.0.113.5:123456",
        "203.0.113.5:80:80",
        "203.0.113.05",
        "[203.0.113.5]",
        "[2001:db8::9",
        "2001:db8::9]",
        "[2001:db8::9]443",
        "[2001:db8::9]:",
        "[2001:db8::9]:x",
        "\"203.0.113.5",
        "203.0.113.5\"",
        "\"203.0.113.5, 203.0.113.6\"",
        "\"",
        "\"\"",
        "'203.0.113.5'",
        "203.0.113.5 203.0.113.6",
        "203.0.113.5;proto=https",
        "for=203.0.113.5",
        "localhost",
        "0.0.0.0",
        "::",
        "[::]:80",
        "224.0.0.1",
        "fe80::1%",
        "fe80::1%a b",
        "203.0.113.5\u{a0}",
        "٢٠٣.0.113.5",
        "0xCB.0.113.5",
        "3405803781",
        "10.0.0.2, unknown, 10.0.0.3",
        "203.0.113.5, unknown, 10.0.0.3",
    ] {
        let origin = of("127.0.0.1", &[("x-forwarded-for", hop.as_bytes()), ("x-forwarded-proto", b"https")]);
        assert_eq!(origin.address(), Address::Unknown, "{hop}");
        assert_eq!(origin.doubt(), Some(Doubt::Unreadable), "{hop}");
        assert!(!origin.is_local() && !origin.is_private(), "{hop}");
    }
    let bytes: [&[u8]; 3] = [b"\xe9", b"203.0.113.5, \xff\xfe", b"203.0.113.5\x80"];
    for bytes in bytes {
        assert_eq!(of("127.0.0.1", &[("x-forwarded-for", bytes)]).doubt(), Some(Doubt::Unreadable), "{bytes:?}");
    }
    // What the client wrote before its proxy's word is not read at all.
    let origin = of("127.0.0.1", &[("x-forwarded-for", b"\xe9, 203.0.113.5")]);
    assert_eq!(origin.address(), Address::Known(ip("203.0.113.5")));
    assert_eq!(of("127.0.0.1", &[]).doubt(), Some(Doubt::Unnamed), "a trusted proxy that names nobody");
}

#[test]
fn local_is_who_comes_from_this_machine_by_no_proxy() {
    let nobody = Proxies::default();
    for peer in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
        assert!(Origin::of_request(ip(peer), std::iter::empty(), &nobody).is_local(), "{peer}");
        assert!(Origin::direct(ip(peer), false).is_local(), "{peer}");
        let mut name = "Forwarded Via X-Forwarded-For X-Forwarded-Proto X-Forwarded-Host X-Forwarded-Server X-Forwarded-Port \
                        X-Forwarded X-Real-IP X_Real_IP X-Client-IP True-Client-IP CF-Connecting-IP X-Cluster-Client-IP \
                        X-Original-Forwarded-For Fastly-Client-IP Fly-Client-IP X-Envoy-External-Address X-Remote-Addr \
                        X-ProxyUser-Ip Proxy-Connection X-Azure-ClientIP X-ARR-SSL CDN-Loop X-Original-Host X-Scheme"
            .split_whitespace();
        assert!(name.all(|name| {
            let name = name.to_ascii_lowercase();
            let headers = [("host", &b"localhost"[..]), (name.as_str(), b"127.0.0.1")];
            let origin = Origin::of_request(ip(peer), headers.into_iter(), &nobody);
            !origin.is_local() && !origin.is_private() && origin.address() == Address::Unknown
        }));
    }
    for name in ["host", "origin", "user-agent", "authorization", "x-request-id", "traceparent", "sec-websocket-key"] {
        let origin = Origin::of_request(ip("127.0.0.1"), [(name, &b"x"[..])].into_iter(), &nobody);
        assert!(origin.is_local(), "{name}");
    }
    assert!(!Origin::direct(ip("192.0.2.1"), false).is_private());
    assert!(Origin::direct(ip("192.0.2.1"), true).is_private());
    // Whoever is taken for a proxy brings no local client, whatever it says.
    for hops in ["127.0.0.1", "::1", "10.0.0.1"] {
        assert!(!of("127.0.0.1", &[("x-forwarded-for", hops.as_bytes())]).is_local(), "{hops}");
    }
}

#[test]
fn encrypted_is_what_one_trusted_proxy_says_once() {
    const HTTPS: &[u8] = b"https";
    let client: (&str, &[u8]) = ("x-forwarded-for", b"203.0.113.5");
    let is_private = |peer, more: &[(&str, &[u8])]| of(peer, &[&[client], more].concat()).is_private();
    let words: [&[u8]; 4] = [HTTPS, b"HTTPS", b" https ", b"wss"];
    for word in words {
        assert!(is_private("127.0.0.1", &[("x-forwarded-proto", word)]), "{word:?}");
        assert!(!is_private("192.0.2.9", &[("x-forwarded-proto", word)]), "{word:?}");
    }
    let words: [&[u8]; 7] = [b"http", b"https,http", b"http, https", b"https, https", b"", b"\"https\"", b"https\xff"];
    for word in words {
        assert!(!is_private("127.0.0.1", &[("x-forwarded-proto", word)]), "{word:?}");
        assert!(!is_private("127.0.0.1", &[("x-forwarded-proto", HTTPS), ("x-forwarded-proto", word)]), "{word:?}");
        assert!(!is_private("127.0.0.1", &[("x-forwarded-proto", word), ("x-forwarded-proto", HTTPS)]), "{word:?}");
    }
    let origin = of("127.0.0.1", &[("x-forwarded-proto", HTTPS)]);
    assert!(!origin.is_private(), "nobody knows whose word that is");
}

/// Lines that look a little like what proxies write, and bytes of any kind.
fn line() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..60),
        "[0-9a-f:.,\\[\\]\" %]{0,60}".prop_map(String::into_bytes),
        vec(
            prop::sample::select(vec!["127.0.0.1", "10.0.0.1", "203.0.113.5:80", "[::1]:9", "unknown", "", "\"x\""]),
            0..6
        )
        .prop_map(|hops| hops.join(", ").into_bytes()),
    ]
}

proptest! {
    #[test]
    fn whatever_is_written_no_proxys_client_is_local(lines in vec(line(), 0..5), protocol in vec(line(), 0..3), peer in prop::sample::select(vec!["127.0.0.1", "10.0.0.1", "::1", "127.0.0.2"])) {
        let mut headers: Vec<(&str, &[u8])> = lines.iter().map(|line| ("x-forwarded-for", &line[..])).collect();
        headers.extend(protocol.iter().map(|line| ("x-forwarded-proto", &line[..])));
        let origin = of(peer, &headers);
        let is_proxy = proxies().contain(ip(peer));
        prop_assert!(!origin.is_local() || (headers.is_empty() && !is_proxy));
        if !is_proxy && !headers.is_empty() {
            prop_assert_eq!(origin.address(), Address::Unknown);
        }
        if origin.address() == Address::Unknown {
            prop_assert!(!origin.is_private());
        }
    }

    #[test]
    fn what_a_trusted_proxy_appends_is_who_it_is(lines in vec(line(), 0..5), client in any::<[u8; 4]>(), port in any::<Option<u16>>(), own_line in any::<bool>()) {
        let client = IpAddr::from(client);
        prop_assume!(!proxies().contain(client) && !client.is_unspecified() && !client.is_multicast());
        let hop = port.map_or_else(|| client.to_string(), |port| format!("{client}:{port}"));
        let mut lines = lines;
        match lines.last_mut() {
            Some(last) if !own_line => last.extend_from_slice(format!(", {hop}").as_bytes()),
            _ => lines.push(hop.into_bytes()),
        }
        let headers: Vec<(&str, &[u8])> = lines.iter().map(|line| ("x-forwarded-for", &line[..])).collect();
        prop_assert_eq!(of("10.0.0.1", &headers).address(), Address::Known(client));
    }

    #[test]
    fn an_address_is_only_what_stands_there(line in line()) {
        if let Address::Known(address) = of("127.0.0.1", &[("x-forwarded-for", &line)]).address() {
            let text = String::from_utf8_lossy(&line).into_owned();
            let hops: Vec<_> = text.split(',').map(|hop| hop.trim_matches([' ', '\t', '"'])).collect();
            prop_assert!(hops.iter().any(|hop| read_hop(hop.as_bytes()) == Some(address)), "{text:?}: {address}");
        }
    }
}

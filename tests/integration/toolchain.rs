//! The oldest Rust that builds this, as Cargo.toml states it. It is the one that the container image is built with; clippy
//! refuses what of the standard library is newer (`incompatible_msrv`), and a test what of the dependencies is.

use std::process::Command;

/// Of 1.95 and of 1.95.0 the same.
fn version(text: &str) -> [u32; 3] {
    let mut parts = text.split('.').map(|part| part.parse().expect("a number"));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

#[test]
fn the_stated_rust_is_the_one_that_the_image_is_built_with() {
    let stated = env!("CARGO_PKG_RUST_VERSION");
    let containerfile = include_str!("../../Containerfile");
    assert!(containerfile.contains(&format!("/rust:{stated}-")), "Containerfile names another Rust than {stated}");
    let output = Command::new("rustc").arg("--version").output().expect("rustc");
    let used = String::from_utf8(output.stdout).expect("text");
    let number = used.split([' ', '-']).nth(1).expect("a version");
    assert!(version(number) >= version(stated), "{used} is older than what Cargo.toml states");
}

#[test]
fn no_dependency_needs_a_newer_rust_than_stated() {
    let stated = version(env!("CARGO_PKG_RUST_VERSION"));
    // Of every platform, also those that no build here has fetched.
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    assert!(packages.len() > 100, "all of them");
    let newer: Vec<_> = packages
        .iter()
        .filter(|package| package["rust_version"].as_str().is_some_and(|wanted| version(wanted) > stated))
        .map(|package| format!("{} {} needs Rust {}", package["name"], package["version"], package["rust_version"]))
        .collect();
    assert!(newer.is_empty(), "{}", newer.join("\n"));
}

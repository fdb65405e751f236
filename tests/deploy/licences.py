"""Without cargo-deny: whether every crate has a licence that deny.toml allows, comes from crates.io, and compiles with the
Rust that Cargo.toml names. Reads `cargo metadata` from standard input. Duplicates need cargo-deny."""

import json
import re
import sys
import tomllib

CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"


def accepted(expression, allowed):
    """Whether an SPDX expression can be met by allowed licences; the old way of writing OR is a slash."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))
    # A licence with an exception is a licence of its own.
    terms, index = [], 0
    while index < len(tokens):
        if tokens[index : index + 1] and tokens[index + 1 : index + 2] == ["WITH"]:
            terms.append(" ".join(tokens[index : index + 3]))
            index += 3
        else:
            terms.append(tokens[index])
            index += 1

    def alternatives(at):
        value, at = requirements(at)
        while at < len(terms) and terms[at] == "OR":
            other, at = requirements(at + 1)
            value = value or other
        return value, at

    def requirements(at):
        value, at = one(at)
        while at < len(terms) and terms[at] == "AND":
            other, at = one(at + 1)
            value = value and other
        return value, at

    def one(at):
        if terms[at] == "(":
            value, at = alternatives(at + 1)
            return value, at + 1
        return terms[at] in allowed, at + 1

    return alternatives(0)[0]


def version(text):
    return tuple(int(part) for part in (text + ".0.0").split(".")[:3])


def main():
    with open("deny.toml", "rb") as file:
        allowed = set(tomllib.load(file)["licenses"]["allow"])
    packages = json.load(sys.stdin)["packages"]
    ours = next(package for package in packages if package["source"] is None)
    faults = []
    for package in packages:
        name = f"{package['name']} {package['version']}"
        if package is not ours and package["source"] != CRATES_IO:
            faults.append(f"{name} comes from {package['source']}")
        if not accepted(package["license"] or "none", allowed):
            faults.append(f"{name} has the licence {package['license']}")
        if version(package["rust_version"] or "1.0") > version(ours["rust_version"]):
            faults.append(f"{name} needs Rust {package['rust_version']}, and Cargo.toml promises {ours['rust_version']}")
    print("\n".join(faults) or f"{len(packages)} crates, Rust {ours['rust_version']}")
    return bool(faults)


sys.exit(main())

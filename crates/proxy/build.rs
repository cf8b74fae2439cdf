//! How the proxy's program is linked.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // The program is position-independent: a quarter of a megabyte of it would be addresses to relocate, which this packs into
    // some kilobytes (ELF's DT_RELR). Linkers that do not know it ignore it.
    println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
}

//! Builds the crate anew when a chart or a profile comes or goes; cargo sees edits of embedded
//! files by itself, but not new files.

fn main() {
    println!("cargo::rerun-if-changed=../../manifests/charts");
    println!("cargo::rerun-if-changed=../../manifests/profiles");
}

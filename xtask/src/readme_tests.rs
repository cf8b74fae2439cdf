//! Tests of what is taken from a README.

use super::{Step, steps};

#[test]
fn commands_stand_in_console_blocks_and_the_demo_ends_with_its_section() {
    let text = "## Try\n```console\n$ cargo xtask demo\n```\n```text\n$ not this\n```\n```console\n$ conduit stat\noutput\n```\n## Test\n```console\n$ cargo xtask test\n```\n";
    let expected = [
        Step::SectionEnds,
        Step::Background("target/bin/conduit demo".to_owned()),
        Step::Run("conduit stat".to_owned()),
        Step::SectionEnds,
        Step::SectionEnds,
    ];
    assert_eq!(steps(text), expected);
}

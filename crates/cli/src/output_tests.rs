use super::*;

fn sample() -> Table {
    let mut table = Table::new(vec![("NAME", Align::Left), ("RPS", Align::Right), ("NOTE", Align::Left)]);
    table.row(vec!["deploy/web".into(), "12.5".into(), Cell::new("slow", Tone::Warn)]);
    table.row(vec!["svc/é".into(), "1.0".into(), "".into()]);
    table
}

#[test]
fn a_table_is_as_wide_as_its_widest_text_and_has_no_trailing_spaces() {
    let expected = "\
NAME          RPS   NOTE
deploy/web   12.5   slow
svc/é         1.0
";
    assert_eq!(sample().render(Paint::NONE), expected);
}

#[test]
fn colour_does_not_move_a_column() {
    let painted = sample().render(Paint::ALWAYS);
    let mut plain = painted;
    for code in ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m"] {
        plain = plain.replace(code, "");
    }
    assert_eq!(plain, sample().render(Paint::NONE));
}

#[test]
fn colour_is_for_terminals_and_can_be_refused() {
    let with = |choice, terminal, set: &'static [(&'static str, &'static str)]| {
        let env = |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        Paint::decide(choice, terminal, env)
    };
    assert_eq!(with(Colour::Auto, true, &[]), Paint::ALWAYS);
    assert_eq!(with(Colour::Auto, false, &[]), Paint::NONE);
    assert_eq!(with(Colour::Auto, true, &[("NO_COLOR", "1")]), Paint::NONE);
    assert_eq!(with(Colour::Auto, true, &[("NO_COLOR", "")]), Paint::ALWAYS);
    assert_eq!(with(Colour::Auto, true, &[("TERM", "dumb")]), Paint::NONE);
    assert_eq!(with(Colour::Always, false, &[("NO_COLOR", "1")]), Paint::ALWAYS);
    assert_eq!(with(Colour::Never, true, &[]), Paint::NONE);
}

#[test]
fn a_reader_that_went_away_is_no_failure() {
    let left = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
    assert_eq!(left.exit(), Exit::Ok);
    assert_eq!(Failure::from(io::Error::from(io::ErrorKind::StorageFull)).exit(), Exit::Problem);
}

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::output::Align;

fn screen(rows: usize) -> Screen {
    let mut table = Table::new(vec![("NAME", Align::Left), ("RPS", Align::Right)]);
    for row in 0..rows {
        table.row(vec![format!("deploy/w{row}").into(), Cell::new(format!("{row}.0"), Tone::Good)]);
    }
    Screen {
        title: "conduit top".into(),
        note: String::new(),
        table,
        selected: 0,
        opens: true,
        back: false,
        paint: Paint::ALWAYS,
    }
}

fn press(screen: &mut Screen, code: KeyCode) -> Wish {
    screen.key(KeyEvent::new(code, KeyModifiers::NONE))
}

#[test]
fn the_marked_row_is_always_on_the_screen() {
    let mut screen = screen(10);
    press(&mut screen, KeyCode::End);
    screen.note = "3 events dropped".into();
    let mut terminal = Terminal::new(TestBackend::new(44, 8)).unwrap();
    terminal.draw(|frame| screen.draw(frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let lines: Vec<String> = (0..8)
        .map(|y| {
            (0..44).map(|x| buffer[(x, y)].symbol().to_owned()).collect::<String>().trim_end().to_owned()
        })
        .collect();
    let expected = [
        "conduit top",
        "",
        "NAME        RPS",
        "deploy/w7   7.0",
        "deploy/w8   8.0",
        "deploy/w9   9.0",
        "3 events dropped",
        "↑↓ choose   Enter requests by path   q quit",
    ];
    assert_eq!(lines, expected);
    assert!(
        buffer[(0, 5)].modifier.contains(Modifier::REVERSED)
            && buffer[(43, 5)].modifier.contains(Modifier::REVERSED)
    );
    assert!(!buffer[(0, 4)].modifier.contains(Modifier::REVERSED));
    assert_eq!(buffer[(13, 5)].fg, Color::Green);
    screen.paint = Paint::NONE;
    terminal.draw(|frame| screen.draw(frame)).unwrap();
    assert_eq!(terminal.backend().buffer()[(13, 5)].fg, Color::Reset);
}

#[test]
fn keys_move_the_mark_within_the_table() {
    let mut screen = screen(3);
    for (code, selected) in [
        (KeyCode::Up, 0),
        (KeyCode::Down, 1),
        (KeyCode::Char('j'), 2),
        (KeyCode::Down, 2),
        (KeyCode::PageUp, 0),
        (KeyCode::PageDown, 2),
        (KeyCode::Home, 0),
    ] {
        assert_eq!(press(&mut screen, code), Wish::Nothing);
        assert_eq!(screen.selected, selected, "{code:?}");
    }
    press(&mut screen, KeyCode::End);
    screen.update(self::screen(1).table);
    assert_eq!(screen.selected, 0);
}

#[test]
fn keys_that_leave_the_table() {
    let mut screen = screen(1);
    assert_eq!(press(&mut screen, KeyCode::Enter), Wish::Open);
    assert_eq!(press(&mut screen, KeyCode::Esc), Wish::Quit);
    assert_eq!(press(&mut screen, KeyCode::Char('q')), Wish::Quit);
    assert_eq!(screen.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Wish::Quit);
    (screen.opens, screen.back) = (false, true);
    assert_eq!(press(&mut screen, KeyCode::Enter), Wish::Nothing);
    assert_eq!(press(&mut screen, KeyCode::Esc), Wish::Back);
    assert_eq!(press(&mut self::screen(0), KeyCode::Enter), Wish::Nothing);
}

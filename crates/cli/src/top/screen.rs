//! What the live table looks like and what its keys do. Pure: a state, a key in, a wish out; drawing reads the state.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::output::{Cell, Paint, Table, Tone};

/// What is on the screen.
pub(crate) struct Screen {
    /// The first line: what is shown.
    pub title: String,
    /// The last line but the keys: remarks; may be empty.
    pub note: String,
    /// The table.
    pub table: Table,
    /// The row that is marked, from 0.
    pub selected: usize,
    /// Enter opens the marked row.
    pub opens: bool,
    /// Esc leads back to another table.
    pub back: bool,
    /// Whether there is colour; bold, faint and reversed text are no colours.
    pub paint: Paint,
}

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Nothing beyond the screen itself.
    Nothing,
    /// Show the marked row's requests.
    Open,
    /// Go back to the table before.
    Back,
    /// End.
    Quit,
}

/// Rows that a page key moves by.
const PAGE: usize = 10;

impl Screen {
    /// Takes a key.
    pub(crate) fn key(&mut self, key: KeyEvent) -> Wish {
        let last = self.table.len().saturating_sub(1);
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => return Wish::Quit,
            KeyCode::Char('q') => return Wish::Quit,
            KeyCode::Esc | KeyCode::Backspace if self.back => return Wish::Back,
            KeyCode::Esc => return Wish::Quit,
            KeyCode::Enter if self.opens && self.table.len() > 0 => return Wish::Open,
            KeyCode::Up | KeyCode::Char('k') => self.selected = self.selected.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.selected += 1,
            KeyCode::PageUp => self.selected = self.selected.saturating_sub(PAGE),
            KeyCode::PageDown => self.selected += PAGE,
            KeyCode::Home | KeyCode::Char('g') => self.selected = 0,
            KeyCode::End | KeyCode::Char('G') => self.selected = last,
            _ => {}
        }
        self.selected = self.selected.min(last);
        Wish::Nothing
    }

    /// Puts a newer table up; the mark stays where it is, inside the table.
    pub(crate) fn update(&mut self, table: Table) {
        self.table = table;
        self.selected = self.selected.min(self.table.len().saturating_sub(1));
    }

    /// Draws.
    pub(crate) fn draw(&self, frame: &mut Frame<'_>) {
        let areas = Layout::vertical([
            Constraint::Length(2),
            Constraint::Length(1),
            Constraint::Min(1),
            Constraint::Length(1),
            Constraint::Length(1),
        ]);
        let [title, headings, body, note, keys] = areas.areas(frame.area());
        let strong = Style::new().add_modifier(Modifier::BOLD);
        frame.render_widget(Line::styled(self.title.as_str(), strong), title);
        let mut lines = self.table.lines().into_iter();
        if let Some(line) = lines.next() {
            frame.render_widget(self.drawn(line), headings);
        }
        let height = usize::from(body.height);
        let first = self.selected.saturating_sub(height.saturating_sub(1));
        let rows: Vec<Line<'_>> = lines.skip(first).take(height).map(|line| self.drawn(line)).collect();
        if let Some(mark) = body.rows().nth(self.selected - first).filter(|_| !rows.is_empty()) {
            frame.buffer_mut().set_style(mark, Style::new().add_modifier(Modifier::REVERSED));
        }
        frame.render_widget(Paragraph::new(rows), body);
        frame.render_widget(Line::styled(self.note.as_str(), self.colour(Tone::Warn)), note);
        frame.render_widget(Line::styled(self.keys(), self.colour(Tone::Faint)), keys);
    }

    fn keys(&self) -> &'static str {
        match (self.opens, self.back) {
            (true, _) => "↑↓ choose   Enter requests by path   q quit",
            (false, true) => "↑↓ scroll   Esc back   q quit",
            (false, false) => "↑↓ scroll   q quit",
        }
    }

    fn drawn(&self, line: Vec<Cell>) -> Line<'static> {
        line.into_iter()
            .map(|cell| Span::styled(cell.text, self.colour(cell.tone)))
            .collect::<Vec<_>>()
            .into()
    }

    fn colour(&self, tone: Tone) -> Style {
        match tone {
            Tone::Strong => Style::new().add_modifier(Modifier::BOLD),
            Tone::Faint => Style::new().add_modifier(Modifier::DIM),
            _ if !self.paint.is_on() => Style::new(),
            Tone::Plain => Style::new(),
            Tone::Good => Style::new().fg(Color::Green),
            Tone::Warn => Style::new().fg(Color::Yellow),
            Tone::Bad => Style::new().fg(Color::Red),
        }
    }
}

#[cfg(test)]
#[path = "screen_tests.rs"]
mod tests;

//! The template language, and its two meanings: filled in, or in Helm's words. Directives stand alone on a line. A name that does not
//! exist is a mistake in the template, which a test finds.

use crate::options::Value;

/// The labels of every object, in place of `${labels}`.
const LABELS: [(&str, &str); 2] =
    [("app.kubernetes.io/part-of", "conduit"), ("app.kubernetes.io/version", env!("CARGO_PKG_VERSION"))];

/// A line of the template.
enum Line<'a> {
    If(&'a str),
    Else,
    End,
    Labels { indent: &'a str },
    Text(&'a str),
}

fn lines(template: &str) -> impl Iterator<Item = Line<'_>> {
    template.lines().map(|line| match line.trim() {
        "#else" => Line::Else,
        "#end" => Line::End,
        "${labels}" => Line::Labels { indent: &line[..line.len() - line.trim_start().len()] },
        trimmed => match trimmed.strip_prefix("#if ") {
            Some(name) => Line::If(name),
            None => Line::Text(line),
        },
    })
}

fn label_lines(indent: &str) -> String {
    LABELS.iter().map(|(name, value)| format!("{indent}{name}: \"{value}\"\n")).collect()
}

/// Fills the template in.
pub(crate) fn render(template: &str, values: &[Value]) -> String {
    let value = |name: &str| values.iter().find(|value| value.name == name).map_or("", |value| &value.text);
    let mut text = String::new();
    // Whether each open condition holds.
    let mut open: Vec<bool> = Vec::new();
    for line in lines(template) {
        match line {
            Line::If(name) => open.push(!matches!(value(name), "" | "false")),
            Line::Else => {
                if let Some(last) = open.last_mut() {
                    *last = !*last;
                }
            }
            Line::End => _ = open.pop(),
            _ if open.contains(&false) => {}
            Line::Labels { indent } => text.push_str(&label_lines(indent)),
            Line::Text(line) => {
                let line = values.iter().fold(line.to_owned(), |line, value| {
                    line.replace(&format!("${{{}}}", value.name), &value.text)
                });
                text.push_str(&line);
                text.push('\n');
            }
        }
    }
    text
}

/// The template in Helm's words.
pub(crate) fn helm(template: &str, values: &[Value]) -> String {
    let mut text = String::new();
    for line in lines(template) {
        match line {
            Line::If(name) => text.push_str(&format!("{{{{- if .Values.{name} }}}}\n")),
            Line::Else => text.push_str("{{- else }}\n"),
            Line::End => text.push_str("{{- end }}\n"),
            Line::Labels { indent } => text.push_str(&label_lines(indent)),
            Line::Text(line) => {
                let line = values.iter().fold(line.to_owned(), |line, value| {
                    let name = value.name;
                    line.replace(&format!("\"${{{name}}}\""), &format!("{{{{ .Values.{name} | quote }}}}"))
                });
                text.push_str(&line);
                text.push('\n');
            }
        }
    }
    text
}

//! YAML as a tree that knows where each part stands in the text. Only what editing needs: mappings with the places of their keys,
//! sequences, and the text of scalars.

use granit_parser::{Event, Parser, ScalarStyle, Span, StructureStyle};

/// Depth of nesting: far deeper than any manifest, shallow enough for the stack.
const DEPTH_MAX: usize = 128;

/// A part of a document.
#[derive(Debug)]
pub(super) enum Node {
    Scalar {
        value: String,
        is_null: bool,
    },
    Mapping(Mapping),
    Sequence(Vec<Node>),
    /// What is written elsewhere: an edit here would be an edit there, or none at all.
    Alias,
}

/// A mapping.
#[derive(Debug)]
pub(super) struct Mapping {
    /// Whether it is written in braces.
    pub(super) is_flow: bool,
    /// Whether something else in the document may refer to it.
    pub(super) is_anchored: bool,
    /// Where it begins: at the brace, or at its first key.
    pub(super) start: usize,
    pub(super) entries: Vec<Entry>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    /// Where the key begins.
    pub(super) at: usize,
    /// Where the key ends.
    pub(super) end: usize,
    pub(super) value: Node,
}

impl Node {
    pub(super) fn mapping(&self) -> Option<&Mapping> {
        match self {
            Self::Mapping(mapping) => Some(mapping),
            Self::Scalar { .. } | Self::Sequence(_) | Self::Alias => None,
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.mapping().and_then(|mapping| mapping.get(key))
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Self::Scalar { value, .. } => Some(value),
            Self::Mapping(_) | Self::Sequence(_) | Self::Alias => None,
        }
    }
}

impl Mapping {
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }
}

/// Reads every document.
pub(super) fn read(text: &str) -> Result<Vec<Node>, String> {
    let mut reader = Reader { parser: Parser::new_from_str(text) };
    let mut documents = Vec::new();
    loop {
        match reader.next()? {
            (Event::StreamEnd, _) => return Ok(documents),
            (Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd, _) => {}
            (event, span) => documents.push(reader.node(event, span, 0)?),
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, granit_parser::StrInput<'a>>,
}

impl<'a> Reader<'a> {
    /// The next event that is content.
    fn next(&mut self) -> Result<(Event<'a>, Span), String> {
        loop {
            match self.parser.next_event() {
                None => return Ok((Event::StreamEnd, Span::default())),
                Some(Ok((Event::Comment(..) | Event::Anchor(..), _))) => {}
                Some(Ok(event)) => return Ok(event),
                Some(Err(error)) => return Err(format!("it is no YAML: {error}")),
            }
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, String> {
        if depth > DEPTH_MAX {
            return Err(format!("it is nested more than {DEPTH_MAX} deep"));
        }
        match event {
            Event::Scalar(value, style, _, _) => {
                let is_null =
                    style == ScalarStyle::Plain && matches!(&*value, "" | "~" | "null" | "Null" | "NULL");
                Ok(Node::Scalar { value: value.into_owned(), is_null })
            }
            Event::MappingStart(style, anchor, tag) => {
                self.mapping(style, anchor != 0 || tag.is_some(), span, depth)
            }
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => return Ok(Node::Sequence(items)),
                        (event, span) => items.push(self.node(event, span, depth + 1)?),
                    }
                }
            }
            _ => Ok(Node::Alias),
        }
    }

    fn mapping(
        &mut self,
        style: StructureStyle,
        is_anchored: bool,
        span: Span,
        depth: usize,
    ) -> Result<Node, String> {
        let mut mapping = Mapping {
            is_flow: style == StructureStyle::Flow,
            is_anchored,
            start: offset(span)?.0,
            entries: Vec::new(),
        };
        loop {
            let (event, span) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(Node::Mapping(mapping)),
                next => next,
            };
            let (at, end) = offset(span)?;
            // A key that is no plain text matches nothing that is looked for.
            let key = match self.node(event, span, depth + 1)? {
                Node::Scalar { value, .. } => value,
                Node::Mapping(_) | Node::Sequence(_) | Node::Alias => "\0".to_owned(),
            };
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            mapping.entries.push(Entry { key, at, end, value });
        }
    }
}

/// Where a part begins and ends, in bytes.
fn offset(span: Span) -> Result<(usize, usize), String> {
    let range = span.byte_range().ok_or("the place of a part of it is not known")?;
    Ok((range.start, range.end))
}

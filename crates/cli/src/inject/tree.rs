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
        place: Place,
    },
    Mapping(Mapping),
    Sequence(Sequence),
    /// What is written elsewhere: an edit here would be an edit there, or none at all.
    Alias {
        place: Place,
    },
}

/// Where a part begins and ends, in bytes.
type Place = (usize, usize);

/// A list.
#[derive(Debug)]
pub(super) struct Sequence {
    /// Whether it is written in brackets.
    pub(super) is_flow: bool,
    /// Whether something else in the document may refer to it.
    pub(super) is_anchored: bool,
    /// Where it begins: at the bracket, or at its first dash.
    pub(super) start: usize,
    /// Where its last content ends, or its bracket.
    pub(super) end: usize,
    pub(super) items: Vec<Node>,
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
    /// Where its last content ends, or its brace.
    pub(super) end: usize,
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
            Self::Scalar { .. } | Self::Sequence(_) | Self::Alias { .. } => None,
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.mapping().and_then(|mapping| mapping.get(key))
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Self::Scalar { value, .. } => Some(value),
            Self::Mapping(_) | Self::Sequence(_) | Self::Alias { .. } => None,
        }
    }

    /// Where it begins.
    pub(super) const fn start(&self) -> usize {
        self.place().0
    }

    /// Where it ends, without what is blank behind it.
    pub(super) const fn end(&self) -> usize {
        self.place().1
    }

    const fn place(&self) -> Place {
        match self {
            Self::Scalar { place, .. } | Self::Alias { place } => *place,
            Self::Mapping(mapping) => (mapping.start, mapping.end),
            Self::Sequence(sequence) => (sequence.start, sequence.end),
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
    let mut reader = Reader { text, parser: Parser::new_from_str(text) };
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
    text: &'a str,
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
        let place = self.place(span)?;
        match event {
            Event::Scalar(value, style, _, _) => {
                let is_null =
                    style == ScalarStyle::Plain && matches!(&*value, "" | "~" | "null" | "Null" | "NULL");
                Ok(Node::Scalar { value: value.into_owned(), is_null, place })
            }
            Event::MappingStart(style, anchor, tag) => {
                self.mapping(style, anchor != 0 || tag.is_some(), place, depth)
            }
            Event::SequenceStart(style, anchor, tag) => {
                let is_anchored = anchor != 0 || tag.is_some();
                let is_flow = style == StructureStyle::Flow;
                let mut sequence =
                    Sequence { is_flow, is_anchored, start: place.0, end: place.1, items: Vec::new() };
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, span) => {
                            let last = sequence.items.last().map_or(place.1, Node::end);
                            sequence.end = if is_flow { offset(span)?.1 } else { last };
                            return Ok(Node::Sequence(sequence));
                        }
                        (event, span) => sequence.items.push(self.node(event, span, depth + 1)?),
                    }
                }
            }
            _ => Ok(Node::Alias { place }),
        }
    }

    /// A part's place, without what is blank behind it: a block scalar takes its last end of line along.
    fn place(&self, span: Span) -> Result<Place, String> {
        let (start, end) = offset(span)?;
        let part = self.text.get(start..end).ok_or("the place of a part of it is not known")?;
        Ok((start, start + part.trim_end().len()))
    }

    fn mapping(
        &mut self,
        style: StructureStyle,
        is_anchored: bool,
        place: Place,
        depth: usize,
    ) -> Result<Node, String> {
        let is_flow = style == StructureStyle::Flow;
        let mut mapping = Mapping { is_flow, is_anchored, start: place.0, end: place.1, entries: Vec::new() };
        loop {
            let (event, span) = match self.next()? {
                (Event::MappingEnd, span) => {
                    let last =
                        mapping.entries.last().map_or(place.1, |entry| entry.value.end().max(entry.end));
                    mapping.end = if is_flow { offset(span)?.1 } else { last };
                    return Ok(Node::Mapping(mapping));
                }
                next => next,
            };
            let (at, end) = offset(span)?;
            // A key that is no plain text matches nothing that is looked for.
            let key = match self.node(event, span, depth + 1)? {
                Node::Scalar { value, .. } => value,
                Node::Mapping(_) | Node::Sequence(_) | Node::Alias { .. } => "\0".to_owned(),
            };
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            mapping.entries.push(Entry { key, at, end, value });
        }
    }
}

fn offset(span: Span) -> Result<Place, String> {
    let range = span.byte_range().ok_or("the place of a part of it is not known")?;
    Ok((range.start, range.end))
}

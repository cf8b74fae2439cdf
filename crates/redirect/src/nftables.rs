//! How tables, chains, rules and expressions are written for the kernel: the numbers of `linux/netfilter/nf_tables.h`
//! and nothing else. Depends on the data of `rules` and on the byte builder of `netlink`; decides nothing.

use crate::Error;
use crate::netlink::{self, Attributes, Batch};
use crate::rules::{
    Base, Chain, Comparison, Expression, Family, Field, Hook, Kind, Register, Table, Verdict,
};

/// Puts the table in the place of the one of the same name, if there is one, in one transaction.
pub(crate) fn replace(table: &Table) -> Result<(), Error> {
    replacement(table).send()
}

/// Deletes the table of that name, if there is one.
pub(crate) fn delete(name: &'static str) -> Result<(), Error> {
    let mut batch = Batch::new();
    clear(&mut batch, name);
    batch.send()
}

/// Whether there is a table of that name.
pub(crate) fn is_there(name: &'static str) -> Result<bool, Error> {
    netlink::is_there(
        || format!("table {name}"),
        Message::GET_TABLE,
        |attributes| attributes.string(TableAttribute::NAME, name),
    )
}

fn replacement(table: &Table) -> Batch {
    let mut batch = Batch::new();
    clear(&mut batch, table.name);
    batch.message(
        || format!("table {}", table.name),
        Message::NEW_TABLE,
        libc::NLM_F_CREATE,
        |attributes| attributes.string(TableAttribute::NAME, table.name),
    );
    // All chains before any rule: a rule may jump only to a chain that is there.
    for chain in &table.chains {
        batch.message(
            || format!("chain {} of table {}", chain.name, table.name),
            Message::NEW_CHAIN,
            libc::NLM_F_CREATE,
            |attributes| write_chain(attributes, table.name, chain),
        );
    }
    for chain in &table.chains {
        for (index, rule) in chain.rules.iter().enumerate() {
            batch.message(
                || format!("rule {} of chain {} of table {}", index + 1, chain.name, table.name),
                Message::NEW_RULE,
                libc::NLM_F_CREATE | libc::NLM_F_APPEND,
                |attributes| {
                    attributes.string(RuleAttribute::TABLE, table.name);
                    attributes.string(RuleAttribute::CHAIN, chain.name);
                    attributes.nest(RuleAttribute::EXPRESSIONS, |list| {
                        for expression in rule {
                            list.nest(LIST_ELEMENT, |element| write_expression(element, expression));
                        }
                    });
                },
            );
        }
    }
    batch
}

/// Deleting what is absent is an error; making it first, which is none when it is there, makes the deletion certain.
fn clear(batch: &mut Batch, name: &str) {
    let what = || format!("table {name}");
    batch.message(what, Message::NEW_TABLE, libc::NLM_F_CREATE, |attributes| {
        attributes.string(TableAttribute::NAME, name);
    });
    batch.message(what, Message::DELETE_TABLE, 0, |attributes| attributes.string(TableAttribute::NAME, name));
}

fn write_chain(attributes: &mut Attributes<'_>, table: &str, chain: &Chain) {
    attributes.string(ChainAttribute::TABLE, table);
    attributes.string(ChainAttribute::NAME, chain.name);
    let Some(Base { kind, hook, priority }) = chain.base else { return };
    attributes.nest(ChainAttribute::HOOK, |nested| {
        nested.number(HookAttribute::NUMBER, hook_number(hook));
        nested.number(HookAttribute::PRIORITY, priority.cast_unsigned());
    });
    attributes.number(ChainAttribute::POLICY, ACCEPT);
    attributes.string(
        ChainAttribute::TYPE,
        match kind {
            Kind::Nat => "nat",
            Kind::Filter => "filter",
        },
    );
}

fn hook_number(hook: Hook) -> u32 {
    match hook {
        Hook::Prerouting => 0,
        Hook::Input => 1,
        Hook::Forward => 2,
        Hook::Output => 3,
    }
}

fn write_expression(element: &mut Attributes<'_>, expression: &Expression) {
    let mut named = |name, data: &dyn Fn(&mut Attributes<'_>)| {
        element.string(ExpressionAttribute::NAME, name);
        element.nest(ExpressionAttribute::DATA, data);
    };
    match expression {
        Expression::Load(field) => match source(*field) {
            Source::Meta(key) => named("meta", &|data| {
                data.number(1, FIRST);
                data.number(2, key);
            }),
            Source::ConnectionTracking(key) => named("ct", &|data| {
                data.number(1, FIRST);
                data.number(2, key);
            }),
            Source::Payload { base, offset, length } => named("payload", &|data| {
                data.number(1, FIRST);
                data.number(2, base);
                data.number(3, offset);
                data.number(4, length);
            }),
        },
        Expression::Random(below) => named("numgen", &|data| {
            data.number(1, FIRST);
            data.number(2, *below);
            data.number(3, RANDOM);
        }),
        Expression::NumberToNetwork => named("byteorder", &|data| {
            data.number(1, FIRST);
            data.number(2, FIRST);
            data.number(3, HOST_TO_NETWORK);
            data.number(4, 4);
            data.number(5, 4);
        }),
        Expression::Compare(comparison, value) => named("cmp", &|data| {
            data.number(1, FIRST);
            data.number(2, comparison_number(*comparison));
            data.nest(3, |nested| nested.bytes(DataAttribute::VALUE, value));
        }),
        Expression::Set(register, value) => named("immediate", &|data| {
            data.number(1, register_number(*register));
            data.nest(2, |nested| nested.bytes(DataAttribute::VALUE, value));
        }),
        Expression::Verdict(verdict) => named("immediate", &|data| {
            data.number(1, VERDICT);
            data.nest(2, |nested| {
                nested.nest(DataAttribute::VERDICT, |nested| write_verdict(nested, *verdict))
            });
        }),
        Expression::Redirect => named("redir", &|data| data.number(1, FIRST)),
        Expression::Dnat(family) => named("nat", &|data| {
            data.number(1, DESTINATION);
            data.number(2, u32::from(family.number()));
            data.number(3, FIRST);
            data.number(5, SECOND);
        }),
        Expression::Reset => named("reject", &|data| {
            data.number(1, TCP_RESET);
            data.bytes(2, &[0]);
        }),
    }
}

fn write_verdict(nested: &mut Attributes<'_>, verdict: Verdict) {
    let (code, chain) = match verdict {
        Verdict::Drop => (0, None),
        Verdict::Return => (-5, None),
        Verdict::Jump(chain) => (-3, Some(chain)),
    };
    nested.number(1, i32::cast_unsigned(code));
    if let Some(chain) = chain {
        nested.string(2, chain);
    }
}

/// Where a field comes from.
enum Source {
    /// What the kernel knows about the packet.
    Meta(u32),
    /// What connection tracking knows about the packet's connection.
    ConnectionTracking(u32),
    /// The packet itself.
    Payload { base: u32, offset: u32, length: u32 },
}

fn source(field: Field) -> Source {
    const NETWORK_HEADER: u32 = 1;
    const TRANSPORT_HEADER: u32 = 2;
    match field {
        Field::ConnectionState => Source::ConnectionTracking(0),
        Field::Mark => Source::Meta(3),
        Field::InputName => Source::Meta(6),
        Field::OutputName => Source::Meta(7),
        Field::SocketUid => Source::Meta(10),
        Field::Family => Source::Meta(15),
        Field::Protocol => Source::Meta(16),
        Field::Source(Family::V4) => Source::Payload { base: NETWORK_HEADER, offset: 12, length: 4 },
        Field::Source(Family::V6) => Source::Payload { base: NETWORK_HEADER, offset: 8, length: 16 },
        Field::Destination(Family::V4) => Source::Payload { base: NETWORK_HEADER, offset: 16, length: 4 },
        Field::Destination(Family::V6) => Source::Payload { base: NETWORK_HEADER, offset: 24, length: 16 },
        Field::DestinationPort => Source::Payload { base: TRANSPORT_HEADER, offset: 2, length: 2 },
    }
}

fn comparison_number(comparison: Comparison) -> u32 {
    match comparison {
        Comparison::Equal => 0,
        Comparison::NotEqual => 1,
        Comparison::Less => 2,
        Comparison::AtMost => 3,
        Comparison::AtLeast => 5,
    }
}

fn register_number(register: Register) -> u32 {
    match register {
        Register::First => FIRST,
        Register::Second => SECOND,
    }
}

/// The register whose content is a verdict.
const VERDICT: u32 = 0;
/// The first register of 16 bytes.
const FIRST: u32 = 1;
/// The second.
const SECOND: u32 = 2;

/// The verdict accept, as a chain's policy.
const ACCEPT: u32 = 1;
const RANDOM: u32 = 1;
const HOST_TO_NETWORK: u32 = 1;
/// NAT of the destination, not of the source.
const DESTINATION: u32 = 1;
const TCP_RESET: u32 = 1;
const LIST_ELEMENT: u16 = 1;

struct Message;
impl Message {
    const NEW_TABLE: u8 = 0;
    const GET_TABLE: u8 = 1;
    const DELETE_TABLE: u8 = 2;
    const NEW_CHAIN: u8 = 3;
    const NEW_RULE: u8 = 6;
}

struct TableAttribute;
impl TableAttribute {
    const NAME: u16 = 1;
}

struct ChainAttribute;
impl ChainAttribute {
    const TABLE: u16 = 1;
    const NAME: u16 = 3;
    const HOOK: u16 = 4;
    const POLICY: u16 = 5;
    const TYPE: u16 = 7;
}

struct HookAttribute;
impl HookAttribute {
    const NUMBER: u16 = 1;
    const PRIORITY: u16 = 2;
}

struct RuleAttribute;
impl RuleAttribute {
    const TABLE: u16 = 1;
    const CHAIN: u16 = 2;
    const EXPRESSIONS: u16 = 4;
}

struct ExpressionAttribute;
impl ExpressionAttribute {
    const NAME: u16 = 1;
    const DATA: u16 = 2;
}

struct DataAttribute;
impl DataAttribute {
    const VALUE: u16 = 1;
    const VERDICT: u16 = 2;
}

#[cfg(test)]
#[path = "nftables_tests.rs"]
mod tests;

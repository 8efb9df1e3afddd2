//! Rules as netlink messages: nf_tables' expressions over registers.
//!
//! Each match loads something into register 1 and compares it. What nft calls dependencies (an address is
//! only there in a packet of its IP version, a port only in one of its protocol) is emitted once per rule.
//!
//! Source: `include/uapi/linux/netfilter/nf_tables.h`; all integers are big endian but those compared with
//! registers that the kernel fills in host order (ids, marks, random numbers).

mod expressions;

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use self::expressions::Expressions;
use super::{Base, Chain, Family, Hook, Match, Op, Proto, Rule, Table, Verdict, text};

/// nfgenmsg of all our messages: family, version 0, and a resource id.
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;
const NLA_F_NESTED: u16 = 0x8000;

const NFPROTO_INET: u8 = 1;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;

/// Register 1 holds what is compared; 2 holds a port beside an address (16 bytes each).
const REG_VERDICT: u32 = 0;
const REG_1: u32 = 1;
const REG_2: u32 = 2;

/// `nf_tables_msg_types`.
#[derive(Clone, Copy)]
pub(super) enum MessageType {
    NewTable = 0,
    DeleteTable = 2,
    NewChain = 3,
    GetChain = 4,
    NewRule = 6,
    GetRule = 7,
}

/// When the kernel answers a statement.
///
/// One statement per transaction asks for it: with one on each, the replies to a large batch would
/// overflow the socket's receive buffer.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    OnError,
    Always,
}

impl Answer {
    fn flag(self) -> u16 {
        match self {
            Answer::OnError => 0,
            Answer::Always => NLM_F_ACK,
        }
    }
}

/// `nft_meta_keys`.
#[derive(Clone, Copy)]
enum Meta {
    Mark = 3,
    InName = 6,
    OutName = 7,
    UserId = 10,
    GroupId = 11,
    NetworkProtocol = 15,
    TransportProtocol = 16,
}

/// A batch of messages under construction: one transaction.
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// What each message is, by sequence number: for errors.
    statements: Vec<String>,
}

impl Batch {
    pub(super) fn new() -> Batch {
        let mut batch = Batch {
            bytes: Vec::new(),
            statements: Vec::new(),
        };
        batch.envelope(NFNL_MSG_BATCH_BEGIN, "the transaction");
        batch
    }

    /// Closes the transaction: the bytes and, by sequence number, the statements.
    pub(super) fn finish(mut self) -> (Vec<u8>, Vec<String>) {
        self.envelope(NFNL_MSG_BATCH_END, "the end of the transaction");
        (self.bytes, self.statements)
    }

    /// Makes sure that the table is there, then removes it with all it contains.
    pub(super) fn remove_table(&mut self, family: Family, name: &str, answer: Answer) {
        self.new_table(family, name, Answer::OnError);
        let what = format!("delete table {} {name}", text::family(family));
        self.message(
            MessageType::DeleteTable,
            family,
            answer.flag(),
            what,
            |out| {
                attr(out, 1, &terminated(name));
            },
        );
    }

    /// Adds a whole table.
    pub(super) fn add_table(&mut self, table: &Table) {
        self.new_table(table.family, &table.name, Answer::OnError);
        // All chains before all rules: a rule may jump to a later chain.
        for chain in &table.chains {
            self.new_chain(table, chain);
        }
        for chain in &table.chains {
            for rule in &chain.rules {
                self.new_rule(table, chain, rule);
            }
        }
    }

    /// Makes sure that the table is there.
    pub(super) fn new_table(&mut self, family: Family, name: &str, answer: Answer) {
        let what = format!("table {} {name}", text::family(family));
        self.message(
            MessageType::NewTable,
            family,
            NLM_F_CREATE | answer.flag(),
            what,
            |out| {
                attr(out, 1, &terminated(name));
                attr_u32(out, 2, 0);
            },
        );
    }

    fn new_chain(&mut self, table: &Table, chain: &Chain) {
        let what = format!("chain {} of table {}", chain.name, table.name);
        self.message(
            MessageType::NewChain,
            table.family,
            NLM_F_CREATE,
            what,
            |out| {
                attr(out, 1, &terminated(&table.name));
                attr(out, 3, &terminated(&chain.name));
                if let Some(base) = chain.base {
                    push_base(out, base);
                }
            },
        );
    }

    fn new_rule(&mut self, table: &Table, chain: &Chain, rule: &Rule) {
        let what = format!(
            "rule `{}` of chain {}",
            text::rule(table.family, rule),
            chain.name
        );
        self.message(
            MessageType::NewRule,
            table.family,
            NLM_F_CREATE | NLM_F_APPEND,
            what,
            |out| {
                attr(out, 1, &terminated(&table.name));
                attr(out, 2, &terminated(&chain.name));
                nested(out, 4, |out| Expressions::new(out, table.family).rule(rule));
            },
        );
    }

    fn envelope(&mut self, kind: u16, what: &str) {
        let sequence = self.next_sequence(what.to_owned());
        let start = begin_message(&mut self.bytes, kind, NLM_F_REQUEST, sequence);
        // AF_UNSPEC, version 0, resource id: the subsystem of the batch (big endian).
        self.bytes.extend_from_slice(&[0, 0]);
        self.bytes
            .extend_from_slice(&NFNL_SUBSYS_NFTABLES.to_be_bytes());
        end_message(&mut self.bytes, start);
    }

    fn message(
        &mut self,
        kind: MessageType,
        family: Family,
        flags: u16,
        what: String,
        body: impl FnOnce(&mut Vec<u8>),
    ) {
        let sequence = self.next_sequence(what);
        push_message(
            &mut self.bytes,
            kind,
            family,
            NLM_F_REQUEST | flags,
            sequence,
            body,
        );
    }

    fn next_sequence(&mut self, what: String) -> u32 {
        self.statements.push(what);
        u32::try_from(self.statements.len() - 1).expect("a batch has fewer than 2^32 statements")
    }
}

/// One message outside a transaction: for dumps.
pub(super) fn push_message(
    out: &mut Vec<u8>,
    kind: MessageType,
    family: Family,
    flags: u16,
    sequence: u32,
    body: impl FnOnce(&mut Vec<u8>),
) {
    let start = begin_message(
        out,
        NFNL_SUBSYS_NFTABLES << 8 | kind as u16,
        flags | NLM_F_REQUEST,
        sequence,
    );
    out.extend_from_slice(&[protocol_family(family), 0, 0, 0]);
    body(out);
    end_message(out, start);
}

/// An attribute holding a string with its terminating zero.
pub(super) fn attr_string(out: &mut Vec<u8>, kind: u16, value: &str) {
    attr(out, kind, &terminated(value));
}

fn begin_message(out: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32) -> usize {
    let start = out.len();
    out.extend_from_slice(&0_u32.to_ne_bytes()); // length, filled in by end_message
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&flags.to_ne_bytes());
    out.extend_from_slice(&sequence.to_ne_bytes());
    out.extend_from_slice(&0_u32.to_ne_bytes()); // port: the kernel
    start
}

fn end_message(out: &mut [u8], start: usize) {
    let length = u32::try_from(out.len() - start).expect("a message is far below 4 GiB");
    out[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

fn attr(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).expect("attribute values are names and addresses");
    out.extend_from_slice(&length.to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn attr_u32(out: &mut Vec<u8>, kind: u16, value: u32) {
    attr(out, kind, &value.to_be_bytes());
}

fn nested(out: &mut Vec<u8>, kind: u16, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&(kind | NLA_F_NESTED).to_ne_bytes());
    body(out);
    let length = u16::try_from(out.len() - start).expect("a rule's expressions are below 64 KiB");
    out[start..start + 2].copy_from_slice(&length.to_ne_bytes());
}

fn terminated(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

fn protocol_family(family: Family) -> u8 {
    match family {
        Family::Inet => NFPROTO_INET,
        Family::Ip => NFPROTO_IPV4,
        Family::Ip6 => NFPROTO_IPV6,
    }
}

fn push_base(out: &mut Vec<u8>, base: Base) {
    nested(out, 4, |out| {
        attr_u32(out, 1, hook_number(base.hook));
        attr(out, 2, &base.priority.to_be_bytes());
    });
    attr_u32(out, 5, 1); // policy NF_ACCEPT
    attr(out, 7, &terminated(text::kind(base.kind)));
}

fn hook_number(hook: Hook) -> u32 {
    match hook {
        Hook::Prerouting => 0,
        Hook::Input => 1,
        Hook::Forward => 2,
        Hook::Output => 3,
        Hook::Postrouting => 4,
    }
}

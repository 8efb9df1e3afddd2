//! One query answered from a [`Zone`], without IO.

use std::str::FromStr;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, SRV};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::zone::Zone;

/// Seconds that an answer may be kept; CoreDNS' default for Kubernetes.
const TTL: u32 = 5;
/// Names of ours end in this.
const DOMAIN: &str = "cluster.local";

/// What to do with a query.
#[derive(Debug)]
pub(super) enum Answer {
    /// Send this.
    Reply(Box<Message>),
    /// Another name for a host outside: ask the host's resolver for that, and add what it says.
    Alias(Box<Message>, Name),
    /// Not ours: ask the host's resolver.
    Forward,
}

/// Answers a query about names of the cluster. Names outside are forwarded; a query that isn't a
/// plain question gets a refusal.
pub(super) fn answer(query: &Message, zone: &Zone) -> Answer {
    let [question] = query.queries.as_slice() else {
        return Answer::Reply(Box::new(reply(query, ResponseCode::FormErr)));
    };
    if query.metadata.op_code != OpCode::Query || question.query_class() != DNSClass::IN {
        return Answer::Reply(Box::new(reply(query, ResponseCode::NotImp)));
    }
    let name = question.name().to_ascii().to_ascii_lowercase();
    let name = name.trim_end_matches('.');
    if !is_ours(name) {
        return Answer::Forward;
    }
    if !zone.contains(name) {
        return Answer::Reply(Box::new(reply(query, ResponseCode::NXDomain)));
    }
    let mut message = reply(query, ResponseCode::NoError);
    let (owner, end) = follow(&mut message, question.name(), name, zone);
    if !is_ours(&end) {
        return Answer::Alias(Box::new(message), owner);
    }
    fill(&mut message, question.query_type(), owner, &end, zone);
    Answer::Reply(Box::new(message))
}

fn is_ours(name: &str) -> bool {
    name == DOMAIN || name.ends_with(&format!(".{DOMAIN}"))
}

/// Aliases that lead to aliases, at most: a circle must end.
const MOST_ALIASES: usize = 8;

/// Adds the aliases of `name`; where they lead, in both forms. A stub resolver does not follow them
/// itself.
fn follow(message: &mut Message, asked: &Name, name: &str, zone: &Zone) -> (Name, String) {
    let (mut owner, mut name) = (asked.clone(), name.to_owned());
    for _ in 0..MOST_ALIASES {
        let Some(target) = zone.alias(&name) else {
            break;
        };
        let next = target.trim_end_matches('.').to_ascii_lowercase();
        let Ok(target) = Name::from_str(&format!("{next}.")) else {
            break;
        };
        let alias = RData::CNAME(CNAME(target.clone()));
        message.add_answer(Record::from_rdata(owner, TTL, alias));
        (owner, name) = (target, next);
    }
    (owner, name)
}

/// A refusal of `query` with its id and question.
pub(super) fn reply(query: &Message, code: ResponseCode) -> Message {
    let mut message = Message::new(
        query.metadata.id,
        MessageType::Response,
        query.metadata.op_code,
    );
    message.metadata.recursion_desired = query.metadata.recursion_desired;
    message.metadata.recursion_available = true;
    message.metadata.authoritative = true;
    message.metadata.response_code = code;
    message.add_queries(query.queries.iter().cloned());
    message
}

fn fill(message: &mut Message, wanted: RecordType, owner: Name, name: &str, zone: &Zone) {
    match wanted {
        RecordType::A | RecordType::ANY => {
            for address in zone.addresses(name) {
                message.add_answer(Record::from_rdata(
                    owner.clone(),
                    TTL,
                    RData::A(A(*address)),
                ));
            }
        }
        RecordType::SRV => {
            for target in zone.services(name) {
                let Ok(host) = Name::from_str(&format!("{}.", target.host)) else {
                    continue;
                };
                let service = SRV::new(0, 100, target.port, host.clone());
                message.add_answer(Record::from_rdata(owner.clone(), TTL, RData::SRV(service)));
                for address in zone.addresses(&target.host) {
                    let record = Record::from_rdata(host.clone(), TTL, RData::A(A(*address)));
                    message.add_additional(record);
                }
            }
        }
        // AAAA and everything else: the name exists, it has no such record.
        _ => {}
    }
}

#[cfg(test)]
mod tests;

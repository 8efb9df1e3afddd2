//! Reads a table back from the kernel.

use std::io;

use netlink_packet_core::{NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer};

use super::apply::{ApplyError, failed, open};
use super::encode::{MessageType, attr_string, push_message};
use super::{Base, Family, Hook, Kind};

const NLM_F_DUMP: u16 = 0x300;

/// A chain as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainSummary {
    /// Its name.
    pub name: String,
    /// Where it hangs, if anywhere.
    pub base: Option<Base>,
    /// Number of rules.
    pub rules: usize,
}

/// The chains of a table as the kernel has them, in its order; empty when there is no such table.
///
/// # Errors
/// [`ApplyError::Socket`].
pub fn read_back(family: Family, name: &str) -> Result<Vec<ChainSummary>, ApplyError> {
    let mut chains = Vec::new();
    dump(MessageType::GetChain, family, name, |attributes| {
        chains.extend(chain(attributes, name));
    })?;
    dump(MessageType::GetRule, family, name, |attributes| {
        if text(attributes, 1).as_deref() != Some(name) {
            return;
        }
        let owner = text(attributes, 2);
        if let Some(chain) = chains
            .iter_mut()
            .find(|chain| Some(&chain.name) == owner.as_ref())
        {
            chain.rules += 1;
        }
    })?;
    Ok(chains)
}

fn dump(
    kind: MessageType,
    family: Family,
    table: &str,
    mut each: impl FnMut(&[u8]),
) -> Result<(), ApplyError> {
    let socket = open()?;
    socket
        .set_non_blocking(false)
        .map_err(failed("open the netlink socket"))?;
    let mut request = Vec::new();
    // The kernel filters rules by table; chains are filtered by the caller.
    push_message(&mut request, kind, family, NLM_F_DUMP, 1, |out| {
        attr_string(out, 1, table)
    });
    socket
        .send(&request, 0)
        .map_err(failed("ask for the rules"))?;
    loop {
        let (reply, _) = socket.recv_from_full().map_err(failed("read the rules"))?;
        let mut rest = reply.as_slice();
        while let Ok(message) = NetlinkBuffer::new_checked(rest) {
            match message.message_type() {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => {
                    let answer = io::Error::other("the kernel refused to list the rules");
                    return Err(failed("read the rules")(answer));
                }
                // Behind the nfgenmsg (4 bytes).
                _ => each(message.payload().get(4..).unwrap_or_default()),
            }
            rest = rest
                .get((message.length() as usize).next_multiple_of(4)..)
                .unwrap_or_default();
        }
    }
}

fn chain(attributes: &[u8], table: &str) -> Option<ChainSummary> {
    if text(attributes, 1)? != table {
        return None;
    }
    let name = text(attributes, 3)?;
    let base = base(attributes);
    Some(ChainSummary {
        name,
        base,
        rules: 0,
    })
}

fn base(attributes: &[u8]) -> Option<Base> {
    let hook_attributes = value(attributes, 4)?;
    let hook = match u32::from_be_bytes(value(hook_attributes, 1)?.try_into().ok()?) {
        0 => Hook::Prerouting,
        1 => Hook::Input,
        2 => Hook::Forward,
        3 => Hook::Output,
        4 => Hook::Postrouting,
        _ => return None,
    };
    let priority = i32::from_be_bytes(value(hook_attributes, 2)?.try_into().ok()?);
    let kind = match text(attributes, 7)?.as_str() {
        "nat" => Kind::Nat,
        "filter" => Kind::Filter,
        _ => return None,
    };
    Some(Base {
        kind,
        hook,
        priority,
    })
}

fn text(attributes: &[u8], kind: u16) -> Option<String> {
    let bytes = value(attributes, kind)?;
    let end = bytes
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(bytes.len());
    Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
}

/// The value of the first attribute of this kind; `None` also when the bytes end too early.
fn value(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    const TYPE_MASK: u16 = 0x3fff; // without the nested and byte-order flags
    loop {
        let length = usize::from(u16::from_ne_bytes(attributes.get(..2)?.try_into().ok()?));
        let found = u16::from_ne_bytes(attributes.get(2..4)?.try_into().ok()?) & TYPE_MASK;
        let value = attributes.get(4..length)?;
        if found == kind {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

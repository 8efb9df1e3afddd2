//! Why a decision came out as it did, rule by rule; for people, never on the request path.

use crate::authz::{AuthzInput, Rbac};
use crate::listener::Listener;
use crate::table::RouteTable;
use crate::view::{ConnInfo, RequestView};

/// A trace: one line per rule looked at, the decision last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// Lines in order.
    pub lines: Vec<String>,
}

impl RouteTable {
    /// Why [`RouteTable::route`] decides as it does.
    pub fn explain(&self, request: &RequestView<'_>, random: u64) -> Explanation {
        let _ = (request, random);
        todo!()
    }
}

impl Listener {
    /// Why [`Listener::select`] decides as it does.
    pub fn explain(&self, connection: &ConnInfo<'_>) -> Explanation {
        let _ = connection;
        todo!()
    }
}

impl Rbac {
    /// Why [`Rbac::decide`] decides as it does.
    pub fn explain(&self, input: &AuthzInput<'_>) -> Explanation {
        let _ = input;
        todo!()
    }
}

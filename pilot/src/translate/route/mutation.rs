//! Header changes of routes and destinations.

use mesh_config::virtual_service::{HeaderChanges, HeaderOperations};

use crate::translate::wire::*;
use base::header_value_option::HeaderAppendAction;

/// Header changes in Envoy's form.
pub(super) struct Mutations {
    /// Set or added before the request goes on.
    pub(super) request_add: Vec<base::HeaderValueOption>,
    /// Removed before the request goes on.
    pub(super) request_remove: Vec<String>,
    /// Set or added to the response.
    pub(super) response_add: Vec<base::HeaderValueOption>,
    /// Removed from the response.
    pub(super) response_remove: Vec<String>,
    /// New authority: setting `Host` means rewriting it.
    pub(super) authority: Option<String>,
}

/// Translates header operations; pseudo headers and `Host` are no headers here.
pub(super) fn build(operations: &HeaderOperations) -> Mutations {
    let request = &operations.request;
    let authority = [&request.set, &request.add].into_iter().find_map(|map| {
        map.iter()
            .find(|(name, _)| is_authority(name))
            .map(|(_, value)| value.clone())
    });
    Mutations {
        request_add: added(request),
        request_remove: removed(request),
        response_add: added(&operations.response),
        response_remove: removed(&operations.response),
        authority,
    }
}

fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case(":authority") || name.eq_ignore_ascii_case("host")
}

fn is_internal(name: &str) -> bool {
    name.starts_with(':') || name.eq_ignore_ascii_case("host")
}

fn added(changes: &HeaderChanges) -> Vec<base::HeaderValueOption> {
    let option =
        |(name, value): (&String, &String), action: HeaderAppendAction| base::HeaderValueOption {
            header: Some(base::HeaderValue {
                key: name.clone(),
                value: value.clone(),
                ..base::HeaderValue::default()
            }),
            append_action: action.into(),
            ..base::HeaderValueOption::default()
        };
    let set = changes
        .set
        .iter()
        .map(|header| option(header, HeaderAppendAction::OverwriteIfExistsOrAdd));
    let add = changes
        .add
        .iter()
        .map(|header| option(header, HeaderAppendAction::AppendIfExistsOrAdd));
    set.chain(add)
        .filter(|option| {
            let header = option.header.as_ref();
            header.is_some_and(|header| !is_internal(&header.key))
        })
        .collect()
}

fn removed(changes: &HeaderChanges) -> Vec<String> {
    let names = changes.remove.iter();
    names.filter(|name| !is_internal(name)).cloned().collect()
}

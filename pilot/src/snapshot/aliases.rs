//! What external names lead to.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::model::Alias;

/// The external names of a cluster. One may lead to another.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    by_name: HashMap<Arc<str>, Alias>,
    /// The names of each service that has some, sorted.
    of_service: HashMap<Arc<str>, Vec<Alias>>,
}

impl Aliases {
    /// Adds a name.
    pub(super) fn add(&mut self, alias: Alias) {
        self.by_name.insert(alias.hostname.clone(), alias);
    }

    /// Finds what the names lead to, once all services are known. A service by the same name wins.
    pub(super) fn resolve(&mut self, is_service: impl Fn(&str) -> bool) {
        self.by_name.retain(|name, _| !is_service(name));
        let mut of_service: HashMap<Arc<str>, Vec<Alias>> = HashMap::new();
        for alias in self.by_name.values() {
            let end = self.end(&alias.hostname);
            if is_service(end) {
                of_service
                    .entry(end.into())
                    .or_default()
                    .push(alias.clone());
            }
        }
        for aliases in of_service.values_mut() {
            aliases.sort_by(|a, b| a.hostname.cmp(&b.hostname));
        }
        self.of_service = of_service;
    }

    /// The names that lead to a service.
    pub(super) fn of(&self, host: &str) -> &[Alias] {
        self.of_service.get(host).map_or(&[], Vec::as_slice)
    }

    /// What `host` leads to in the end: itself, unless it is an external name, or leads in a circle.
    pub(super) fn end<'a>(&'a self, host: &'a str) -> &'a str {
        let mut end = host;
        for _ in 0..=self.by_name.len() {
            match self.by_name.get(end) {
                Some(alias) => end = &alias.target,
                None => return end,
            }
        }
        host
    }
}

//! Turns users and capabilities of a manifest into what this user namespace has.

use std::fs;
use std::io;

use mesh_sys::caps::CapabilitySet;
use mesh_sys::process::Credentials;

use super::{Capabilities, User};

/// The proxy's user, whose traffic is not captured.
const PROXY_UID: u32 = 1337;

/// Which ids exist in our user namespace.
struct Ids {
    users: IdMap,
    groups: IdMap,
    may_set_groups: bool,
}

/// Ranges of ids inside: first and how many.
struct IdMap(Vec<(u32, u32)>);

/// What `user` with `capabilities` becomes here.
///
/// # Errors
/// `InvalidInput` with the name of an unknown capability; as reading `/proc/self/uid_map`.
pub(super) fn credentials(
    user: &User,
    capabilities: &Capabilities,
    terminal: bool,
) -> io::Result<Credentials> {
    let ids = Ids {
        users: IdMap::parse(&fs::read_to_string("/proc/self/uid_map")?),
        groups: IdMap::parse(&fs::read_to_string("/proc/self/gid_map")?),
        may_set_groups: fs::read_to_string("/proc/self/setgroups")?.trim() == "allow",
    };
    resolve(&ids, user, capabilities, terminal)
}

fn resolve(
    ids: &Ids,
    user: &User,
    capabilities: &Capabilities,
    terminal: bool,
) -> io::Result<Credentials> {
    let uid = user.uid.filter(|uid| ids.users.has(*uid));
    let added = named(&capabilities.add)?;
    let mut bounding = CapabilitySet::container_default()
        .without(named(&capabilities.drop)?)
        .with(added);
    if user.uid == Some(PROXY_UID) && uid.is_none() {
        // It cannot be told from the application by its user id: it must be able to mark its sockets.
        bounding = bounding.with(named(&["NET_ADMIN".to_owned()])?);
    }
    let groups = user
        .groups
        .iter()
        .copied()
        .filter(|group| ids.groups.has(*group));
    Ok(Credentials {
        uid,
        gid: user.gid.filter(|gid| ids.groups.has(*gid)),
        groups: ids.may_set_groups.then(|| groups.collect()),
        bounding,
        ambient: added,
        terminal,
    })
}

fn named(names: &[String]) -> io::Result<CapabilitySet> {
    names.iter().try_fold(CapabilitySet::EMPTY, |set, name| {
        let one = CapabilitySet::named(name).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("there is no capability {name}"),
            )
        })?;
        Ok(set.with(one))
    })
}

impl IdMap {
    /// Lines of `first-inside first-outside count` (user_namespaces(7)).
    fn parse(text: &str) -> IdMap {
        let range = |line: &str| {
            let mut numbers = line.split_whitespace().map(str::parse);
            let (first, _, count) = (
                numbers.next()?.ok()?,
                numbers.next()?.ok()?,
                numbers.next()?.ok()?,
            );
            let _: u32 = first;
            Some((first, count))
        };
        IdMap(text.lines().filter_map(range).collect())
    }

    fn has(&self, id: u32) -> bool {
        self.0
            .iter()
            .any(|(first, count)| id.checked_sub(*first).is_some_and(|offset| offset < *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(map: &str, may_set_groups: bool) -> Ids {
        Ids {
            users: IdMap::parse(map),
            groups: IdMap::parse(map),
            may_set_groups,
        }
    }

    fn capability(name: &str) -> CapabilitySet {
        CapabilitySet::named(name).unwrap()
    }

    #[test]
    fn ids_that_do_not_exist_are_left_and_the_proxy_keeps_its_mark() {
        let proxy = User {
            uid: Some(1337),
            gid: Some(1337),
            groups: vec![1337],
        };
        let none = Capabilities {
            add: vec![],
            drop: vec!["ALL".to_owned()],
        };
        let single = resolve(
            &ids("         0       1000          1\n", false),
            &proxy,
            &none,
            false,
        )
        .unwrap();
        assert_eq!((single.uid, single.gid, single.groups), (None, None, None));
        assert_eq!(single.bounding, capability("NET_ADMIN"));

        let host = resolve(&ids("0 0 4294967295", true), &proxy, &none, false).unwrap();
        assert_eq!(
            (host.uid, host.gid, host.groups),
            (Some(1337), Some(1337), Some(vec![1337]))
        );
        assert_eq!(host.bounding, CapabilitySet::EMPTY);
    }

    #[test]
    fn capabilities_are_added_and_dropped_by_name() {
        let wish = Capabilities {
            add: vec!["NET_ADMIN".to_owned()],
            drop: vec!["NET_RAW".to_owned()],
        };
        let got = resolve(&ids("0 0 10", true), &User::default(), &wish, false).unwrap();
        assert!(
            got.bounding.contains(capability("NET_ADMIN"))
                && got.bounding.contains(capability("CHOWN"))
        );
        assert!(!got.bounding.contains(capability("NET_RAW")));
        let unknown = Capabilities {
            add: vec!["FLY".to_owned()],
            drop: vec![],
        };
        let error = resolve(&ids("0 0 10", true), &User::default(), &unknown, false).unwrap_err();
        assert!(error.to_string().contains("FLY"));
    }
}

//! Interfaces, addresses and routes over rtnetlink, and the sysctls that go with them.
//!
//! A [`Links`] belongs to the network namespace of the thread that opened it. [`in_netns`] opens one in
//! another namespace and drives it there.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use futures::TryStreamExt;
use ipnet::{IpNet, Ipv4Net};
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute};
use rtnetlink::packet_route::route::RouteScope;
use rtnetlink::{
    Error, Handle, LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth,
    RouteMessageBuilder,
};
use tokio::task::JoinHandle;

use crate::netns::NetNs;

/// A conversation with rtnetlink in one network namespace.
#[derive(Debug)]
pub struct Links {
    handle: Handle,
    connection: JoinHandle<()>,
}

/// Index of an interface in its namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Index(pub u32);

impl Links {
    /// Opens rtnetlink in the calling thread's network namespace; needs a tokio runtime.
    ///
    /// # Errors
    /// As `socket(2)`.
    pub fn open() -> io::Result<Links> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        Ok(Links {
            handle,
            connection: tokio::spawn(connection),
        })
    }

    /// Finds an interface by name.
    ///
    /// # Errors
    /// `NotFound` with the name.
    pub async fn find(&self, name: &str) -> io::Result<Index> {
        let mut found = self
            .handle
            .link()
            .get()
            .match_name(name.to_owned())
            .execute();
        let link = found
            .try_next()
            .await
            .map_err(|error| failed(&format!("find {name}"), error))?;
        let link = link.ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("no interface {name}"))
        })?;
        Ok(Index(link.header.index))
    }

    /// Makes a bridge with this hardware address, up.
    ///
    /// The address must be given: a bridge otherwise takes the lowest of its ports', and changes it when
    /// ports come and go, under neighbours that have resolved the old one.
    ///
    /// # Errors
    /// `AlreadyExists`, `PermissionDenied`.
    pub async fn add_bridge(&self, name: &str, hardware: [u8; 6]) -> io::Result<Index> {
        let request = self.handle.link().add(
            LinkBridge::new(name)
                .address(hardware.to_vec())
                .up()
                .build(),
        );
        request
            .execute()
            .await
            .map_err(|error| failed(&format!("add bridge {name}"), error))?;
        self.find(name).await
    }

    /// Makes a veth pair: `name` here, attached to `bridge` and up; `peer_name` in `peer_netns`, down.
    ///
    /// The bridge may send packets back by the port they came from (hairpin): where `br_netfilter` is
    /// loaded, that is the way of a packet whose destination was rewritten to its sender.
    ///
    /// # Errors
    /// `AlreadyExists`, `PermissionDenied`.
    pub async fn add_veth(
        &self,
        name: &str,
        bridge: Index,
        peer_name: &str,
        peer_netns: BorrowedFd<'_>,
    ) -> io::Result<Index> {
        let peer = LinkMessageBuilder::<LinkUnspec>::new()
            .name(peer_name)
            .setns_by_fd(peer_netns.as_raw_fd())
            .build();
        let pair = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(name)
            .controller(bridge.0)
            .up()
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .build();
        let request = self.handle.link().add(pair);
        request
            .execute()
            .await
            .map_err(|error| failed(&format!("add veth {name}"), error))?;
        let link = self.find(name).await?;
        let request = self
            .handle
            .link()
            .set_port(LinkBridgePort::new(link.0).hairpin(true).build());
        request
            .execute()
            .await
            .map_err(|error| failed(&format!("set hairpin mode of {name}"), error))?;
        Ok(link)
    }

    /// Adds an address to an interface.
    ///
    /// # Errors
    /// `AlreadyExists` and others, with the address.
    pub async fn add_address(&self, link: Index, address: IpNet) -> io::Result<()> {
        let request = self
            .handle
            .address()
            .add(link.0, address.addr(), address.prefix_len());
        request
            .execute()
            .await
            .map_err(|error| failed(&format!("add address {address}"), error))
    }

    /// Sets an interface up.
    ///
    /// # Errors
    /// `NotFound` when it is gone.
    pub async fn set_up(&self, link: Index) -> io::Result<()> {
        let request = self
            .handle
            .link()
            .set(LinkUnspec::new_with_index(link.0).up().build());
        request
            .execute()
            .await
            .map_err(|error| failed("set the interface up", error))
    }

    /// Sets the loopback interface up.
    ///
    /// # Errors
    /// `PermissionDenied`.
    pub async fn set_loopback_up(&self) -> io::Result<()> {
        let loopback = self.find("lo").await?;
        self.set_up(loopback).await
    }

    /// Adds a route to `destination` by `link`, directly or (`gateway`) by a neighbour that need not be in
    /// any of the link's prefixes (`onlink`); `source` is the address that our own packets get.
    ///
    /// # Errors
    /// `AlreadyExists` and others, with the destination.
    pub async fn add_route(
        &self,
        destination: Ipv4Net,
        link: Index,
        gateway: Option<Ipv4Addr>,
        source: Option<Ipv4Addr>,
    ) -> io::Result<()> {
        let mut route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(destination.addr(), destination.prefix_len())
            .output_interface(link.0);
        route = match gateway {
            Some(gateway) => route.gateway(gateway).onlink(),
            None => route.scope(RouteScope::Link),
        };
        if let Some(source) = source {
            route = route.pref_source(source);
        }
        let request = self.handle.route().add(route.build());
        request
            .execute()
            .await
            .map_err(|error| failed(&format!("add route to {destination}"), error))
    }

    /// Removes an interface (both ends of a veth pair); fine if it is gone.
    ///
    /// # Errors
    /// `PermissionDenied`.
    pub async fn delete(&self, name: &str) -> io::Result<()> {
        let link = match self.find(name).await {
            Ok(link) => link,
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        match self.handle.link().del(link.0).execute().await {
            Ok(()) => Ok(()),
            Err(error) => {
                let error = failed(&format!("delete {name}"), error);
                if is_gone(&error) { Ok(()) } else { Err(error) }
            }
        }
    }

    /// Names of all interfaces.
    ///
    /// # Errors
    /// As the netlink socket.
    pub async fn names(&self) -> io::Result<Vec<String>> {
        let links: Vec<_> = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(|error| failed("list interfaces", error))?;
        let name = |attribute: &LinkAttribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        };
        Ok(links
            .iter()
            .filter_map(|link| link.attributes.iter().find_map(name))
            .collect())
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Runs `work` with a [`Links`] of the namespace, on a thread and runtime of its own; blocks the caller.
///
/// # Errors
/// As [`NetNs::run`] and what `work` returns.
pub fn in_netns<T, Work, Result_>(netns: &NetNs, work: Work) -> io::Result<T>
where
    T: Send,
    Work: FnOnce(Links) -> Result_ + Send,
    Result_: Future<Output = io::Result<T>>,
{
    netns.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async { work(Links::open()?).await })
    })
}

/// Adds an address to the loopback interface of the calling thread's namespace, from outside any runtime;
/// fine if it is there.
///
/// # Errors
/// `PermissionDenied` without `CAP_NET_ADMIN`.
pub fn add_loopback_address(address: IpAddr) -> io::Result<()> {
    in_netns(&NetNs::current()?, async |links: Links| {
        let loopback = links.find("lo").await?;
        match links.add_address(loopback, IpNet::from(address)).await {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            result => result,
        }
    })
}

/// Writes a network sysctl (`net/ipv4/ip_forward`) of the calling thread's network namespace.
///
/// # Errors
/// As `open(2)` and `write(2)`, with the sysctl's path.
pub fn write_sysctl(name: &str, value: &str) -> io::Result<()> {
    let path = format!("/proc/sys/{name}");
    std::fs::write(&path, value)
        .map_err(|error| io::Error::new(error.kind(), format!("write {value} to {path}: {error}")))
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

fn failed(what: &str, error: Error) -> io::Error {
    match error {
        Error::NetlinkError(message) => {
            let source = message.to_io();
            let kind = match source.raw_os_error() {
                Some(libc::ENODEV) => io::ErrorKind::NotFound,
                _ => source.kind(),
            };
            io::Error::new(kind, format!("{what}: {source}"))
        }
        other => io::Error::other(format!("{what}: {other}")),
    }
}

#[cfg(test)]
mod tests;

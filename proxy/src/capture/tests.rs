use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::Command;

use clap::Parser;
use mesh_sys::link::{Links, in_netns};
use mesh_sys::netns::NetNs;
use mesh_sys::process::{Isolation, spawn_isolated};
use mesh_sys::socket::{new_outbound, original_destination};

use super::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn parse(flags: &[&str]) -> Args {
    Cli::parse_from(std::iter::once("capture").chain(flags.iter().copied())).args
}

/// As the injector passes them.
const INJECTED: [&str; 16] = [
    "-p",
    "15001",
    "-z",
    "15006",
    "-u",
    "1337",
    "-m",
    "REDIRECT",
    "-i",
    "*",
    "-x",
    "",
    "-b",
    "*",
    "-d",
    "15090,15021,15020",
];

fn text(flags: &[&str], ipv6: bool) -> String {
    rules::table(&Settings::parse(&parse(flags), ipv6).unwrap()).to_text()
}

fn chain(text: &str, name: &str) -> Vec<String> {
    let start = text
        .lines()
        .skip_while(|line| line.trim() != format!("chain {name} {{"));
    start
        .skip(1)
        .take_while(|line| line.trim() != "}")
        .map(|line| line.trim().to_owned())
        .collect()
}

#[test]
fn injected_flags_give_istios_rules() {
    let text = text(&INJECTED, false);
    assert!(text.contains("table ip mesh_capture"), "{text}");
    let inbound = [
        "tcp dport 15008 return",
        "tcp dport 15090 return",
        "tcp dport 15021 return",
        "tcp dport 15020 return",
        "meta l4proto tcp jump ISTIO_IN_REDIRECT",
    ];
    assert_eq!(chain(&text, "ISTIO_INBOUND"), inbound);
    let not_loopback = "oifname \"lo\" ip daddr != 127.0.0.1 tcp dport != 15008";
    let output = [
        "oifname \"lo\" ip saddr 127.0.0.6 return".to_owned(),
        format!("{not_loopback} meta mark 0x539 jump ISTIO_IN_REDIRECT"),
        "meta mark 0x539 return".to_owned(),
        format!("{not_loopback} meta skuid 1337 jump ISTIO_IN_REDIRECT"),
        "oifname \"lo\" meta skuid != 1337 return".to_owned(),
        "meta skuid 1337 return".to_owned(),
        format!("{not_loopback} meta skgid 1337 jump ISTIO_IN_REDIRECT"),
        "oifname \"lo\" meta skgid != 1337 return".to_owned(),
        "meta skgid 1337 return".to_owned(),
        "ip daddr 127.0.0.1 return".to_owned(),
        "jump ISTIO_REDIRECT".to_owned(),
    ];
    assert_eq!(chain(&text, "ISTIO_OUTPUT"), output);
    assert_eq!(
        chain(&text, "ISTIO_REDIRECT"),
        ["meta l4proto tcp redirect to :15001"]
    );
    assert_eq!(
        chain(&text, "ISTIO_IN_REDIRECT"),
        ["meta l4proto tcp redirect to :15006"]
    );
}

#[test]
fn selections_and_exclusions_keep_istios_order() {
    let line = "-i 10.0.0.0/8,fd00::/8 -x 10.1.0.0/16 -b 80,8080 -d 80 -q 443 -o 22 -k vm0 -c eth9 -g 2000";
    let flags: Vec<&str> = line.split(' ').collect();
    let both = text(&flags, true);
    assert!(both.contains("table inet mesh_capture"), "{both}");
    let prerouting: Vec<String> = chain(&both, "PREROUTING").split_off(1);
    let expected = [
        "iifname \"vm0\" ip daddr 10.0.0.0/8 jump ISTIO_REDIRECT",
        "iifname \"vm0\" ip6 daddr fd00::/8 jump ISTIO_REDIRECT",
        "iifname \"vm0\" return",
        "iifname \"eth9\" return",
        "meta l4proto tcp jump ISTIO_INBOUND",
    ];
    assert_eq!(prerouting, expected);
    assert_eq!(
        chain(&both, "OUTPUT")[1..],
        ["oifname \"eth9\" return", "jump ISTIO_OUTPUT"]
    );
    let inbound = [
        "15008 return",
        "80 jump ISTIO_IN_REDIRECT",
        "8080 jump ISTIO_IN_REDIRECT",
    ];
    assert_eq!(
        chain(&both, "ISTIO_INBOUND"),
        inbound.map(|rest| format!("tcp dport {rest}"))
    );
    let output = chain(&both, "ISTIO_OUTPUT");
    assert_eq!(output[..2], ["tcp dport 22 return", "udp dport 22 return"]);
    let last = [
        "ip daddr 127.0.0.1 return",
        "ip6 daddr ::1 return",
        "ip daddr 10.1.0.0/16 return",
        "tcp dport 443 jump ISTIO_REDIRECT",
        "ip daddr 10.0.0.0/8 jump ISTIO_REDIRECT",
        "ip6 daddr fd00::/8 jump ISTIO_REDIRECT",
    ];
    assert_eq!(output[output.len() - last.len()..], last);
    assert!(output.iter().any(|rule| rule == "meta skgid 2000 return"));
    assert!(!text(&flags, false).contains("ip6"), "IPv4 only");
    assert!(
        !text(&["-i", "127.0.0.0/8"], false).contains("meta skuid != 1337"),
        "loopback on demand"
    );
}

#[test]
fn bad_values_name_their_flag() {
    let cases: [(&[&str], &str); 10] = [
        (&["-p", "0"], "-p, --envoy-port: `0` is not a port"),
        (&["-z", "http"], "-z, --inbound-capture-port: `http`"),
        (
            &["-d", "15090,70000"],
            "-d, --istio-local-exclude-ports: `70000`",
        ),
        (
            &["-d", "*"],
            "-d, --istio-local-exclude-ports: `*` would exclude everything",
        ),
        (
            &["-x", "10.0.0.0"],
            "-x, --istio-service-exclude-cidr: `10.0.0.0` is not a range",
        ),
        (
            &["-i", "10.0.0.0/33"],
            "-i, --istio-service-cidr: `10.0.0.0/33`",
        ),
        (
            &["-u", "proxy"],
            "-u, --proxy-uid: `proxy` is not a user id",
        ),
        (&["-u", ""], "-u, --proxy-uid: needs at least one"),
        (
            &["-m", "TPROXY"],
            "-m, --istio-inbound-interception-mode: TPROXY is not supported; use REDIRECT",
        ),
        (
            &["-k", "a-very-long-name0"],
            "-k, --kube-virt-interfaces: `a-very-long-name0`",
        ),
    ];
    for (flags, expected) in cases {
        let error = Settings::parse(&parse(flags), false)
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{flags:?}: {error}");
    }
}

#[test]
fn global_ipv6_addresses_are_noticed() {
    let loopback = "00000000000000000000000000000001 01 80 10 80       lo\n\
                    00000000000000000000000000000006 01 80 00 80       lo\n";
    let local = "fe80000000000000085800fffef40001 02 40 20 80     eth0\n";
    let global = "fd000000000000000000000000000005 02 40 00 80     eth0\n";
    assert!(!lists_global_address(""));
    assert!(!lists_global_address(&format!("{loopback}{local}")));
    assert!(lists_global_address(&format!("{loopback}{local}{global}")));
}

const INSIDE: &str = "MESH_PROXY_CAPTURE_TEST";

/// Runs `body` as root of new namespaces: a pod with 10.244.0.5 on `br0` and everything else behind it, and
/// a peer with 10.244.0.9 there.
fn in_a_pod(name: &str, body: impl FnOnce(&NetNs)) {
    if std::env::var_os(INSIDE).is_none() {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([name, "--exact", "--nocapture", "--test-threads=1"])
            .env(INSIDE, "1");
        match spawn_isolated(&mut command, Isolation::for_this_user()) {
            Ok(mut child) => assert!(
                child.wait().unwrap().success(),
                "{name} failed in its namespaces"
            ),
            Err(error) => {
                eprintln!("\n*** SKIPPED {name}: namespaces are forbidden here: {error}\n")
            }
        }
        return;
    }
    let peer = NetNs::create().unwrap();
    in_netns(&NetNs::current().unwrap(), async |links: Links| {
        links.set_loopback_up().await?;
        let bridge = links.add_bridge("br0", [0x0a, 0x58, 10, 244, 0, 5]).await?;
        links
            .add_address(bridge, "10.244.0.5/24".parse().unwrap())
            .await?;
        links
            .add_route("0.0.0.0/0".parse().unwrap(), bridge, None, None)
            .await?;
        links
            .add_veth("v0", bridge, "eth0", peer.as_fd())
            .await
            .map(drop)
    })
    .unwrap();
    in_netns(&peer, async |links: Links| {
        let eth0 = links.find("eth0").await?;
        links
            .add_address(eth0, "10.244.0.9/24".parse().unwrap())
            .await?;
        links.set_up(eth0).await
    })
    .unwrap();
    body(&peer);
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Where the next connection accepted by `proxy` was going.
fn captured(proxy: &TcpListener) -> SocketAddr {
    original_destination(&proxy.accept().unwrap().0).unwrap()
}

#[test]
fn traffic_goes_where_istio_sends_it() {
    in_a_pod(
        "capture::tests::traffic_goes_where_istio_sends_it",
        |peer| {
            run(&parse(&INJECTED)).unwrap();
            run(&parse(&INJECTED)).unwrap();
            let outbound = TcpListener::bind("0.0.0.0:15001").unwrap();
            let inbound = TcpListener::bind("0.0.0.0:15006").unwrap();
            let app = TcpListener::bind("0.0.0.0:9080").unwrap();
            let ready = TcpListener::bind("0.0.0.0:15021").unwrap();

            // The application to somewhere else, by the proxy.
            let _client = TcpStream::connect("192.0.2.1:80").unwrap();
            assert_eq!(captured(&outbound), addr("192.0.2.1:80"));
            // The application to itself, directly: loopback and its own address.
            for own in ["127.0.0.1:9080", "10.244.0.5:9080"] {
                let _client = TcpStream::connect(own).unwrap();
                app.accept().unwrap();
            }
            // Somebody else to the application, by the proxy; its own ports directly.
            let _client = peer.connect(addr("10.244.0.5:9080")).unwrap();
            assert_eq!(captured(&inbound), addr("10.244.0.5:9080"));
            let _client = peer.connect(addr("10.244.0.5:15021")).unwrap();
            ready.accept().unwrap();

            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let connect = |to: &str, from: Option<&str>, mark: Option<u32>| {
                let _context = runtime.enter();
                let to = addr(to);
                let socket =
                    new_outbound(to, from.map(|from| from.parse().unwrap()), mark).unwrap();
                runtime.block_on(socket.connect(to)).unwrap()
            };
            // The proxy to the application.
            let _client = connect("10.244.0.5:9080", Some("127.0.0.6"), Some(1337));
            assert_eq!(
                app.accept().unwrap().1.ip(),
                "127.0.0.6".parse::<IpAddr>().unwrap()
            );
            // The proxy to an endpoint that is its own pod: inbound traffic.
            let _client = connect("10.244.0.5:9080", None, Some(1337));
            assert_eq!(captured(&inbound), addr("10.244.0.5:9080"));
            // The proxy to somewhere else, directly.
            let listener = peer.listen(addr("10.244.0.9:80")).unwrap();
            listener.set_nonblocking(false).unwrap();
            let _client = connect("10.244.0.9:80", None, Some(1337));
            assert_eq!(
                listener.accept().unwrap().1.ip(),
                "10.244.0.5".parse::<IpAddr>().unwrap()
            );

            run(&parse(&["-m", "NONE"])).unwrap();
            let _client = TcpStream::connect("10.244.0.9:80").unwrap();
            listener.accept().unwrap();
            assert_eq!(nft::read_back(Family::Ip, rules::TABLE).unwrap(), vec![]);
        },
    );
}

#[test]
fn the_proxys_user_and_ipv6_are_treated_alike() {
    in_a_pod(
        "capture::tests::the_proxys_user_and_ipv6_are_treated_alike",
        |peer| {
            // We are user 0: as the proxy.
            let mut flags = INJECTED;
            flags[5] = "0";
            let listener = peer.listen(addr("10.244.0.9:80")).unwrap();
            listener.set_nonblocking(false).unwrap();
            run(&parse(&flags)).unwrap();
            let _client = TcpStream::connect("10.244.0.9:80").unwrap();
            listener.accept().unwrap();

            let mut args = parse(&INJECTED);
            args.dual_stack = true;
            run(&args).unwrap();
            assert_eq!(
                nft::read_back(Family::Ip, rules::TABLE).unwrap(),
                vec![],
                "replaced by one for both"
            );
            let app = TcpListener::bind("[::]:9080").unwrap();
            let inbound = TcpListener::bind("[::]:15006").unwrap();
            let _client = TcpStream::connect("[::1]:9080").unwrap();
            app.accept().unwrap();
            let _client = peer.connect(addr("10.244.0.5:9080")).unwrap();
            assert_eq!(captured(&inbound), addr("10.244.0.5:9080"));
            // The source of inbound connections over IPv6 can be bound.
            TcpListener::bind("[::6]:0").unwrap();
        },
    );
}

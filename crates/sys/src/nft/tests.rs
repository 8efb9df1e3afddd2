//! The kernel and `nft` judge: what we encode must list as what we print.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use super::*;
use crate::testing::{has_nft, isolated};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn matches_of_all_kinds(hook: Hook) -> Vec<Match> {
    let out = matches!(hook, Hook::Output | Hook::Postrouting);
    let interface = if out {
        Match::OutInterface
    } else {
        Match::InInterface
    };
    let mut all = vec![
        interface(Op::Is, "lo".to_owned()),
        interface(Op::IsNot, "eth0".to_owned()),
        interface(Op::Is, "veth*".to_owned()),
        Match::Protocol(Op::Is, Proto::Tcp),
        Match::Protocol(Op::IsNot, Proto::Udp),
        Match::Mark(Op::Is, 1337),
        Match::Mark(Op::IsNot, 0x10),
        Match::Ipv4Only,
        Match::Ipv6Only,
        Match::Source(Op::Is, net("10.244.0.0/16")),
        Match::Source(Op::IsNot, net("127.0.0.6/32")),
        Match::Destination(Op::Is, net("10.0.0.0/9")),
        Match::Destination(Op::IsNot, net("::1/128")),
        Match::Source(Op::Is, net("fd00::/8")),
        Match::SourcePort(Op::Is, Proto::Udp, 53),
        Match::DestinationPort(Op::IsNot, Proto::Tcp, 15008),
        Match::DestinationIsLocal(Op::Is),
        Match::DestinationIsLocal(Op::IsNot),
        Match::Established,
        Match::OneIn(3),
    ];
    if out {
        all.push(Match::UserId(Op::Is, 1337));
        all.push(Match::UserId(Op::IsNot, 0));
        all.push(Match::GroupId(Op::IsNot, 1337));
    }
    all
}

/// Whether a table of this family can hold the match.
fn fits(family: Family, one: &Match) -> bool {
    match one {
        Match::Source(_, prefix) | Match::Destination(_, prefix) => match family {
            Family::Inet => true,
            Family::Ip => prefix.addr().is_ipv4(),
            Family::Ip6 => prefix.addr().is_ipv6(),
        },
        Match::Ipv4Only | Match::Ipv6Only => family == Family::Inet,
        _ => true,
    }
}

/// One rule for each match.
fn each(family: Family, hook: Hook, verdict: &Verdict) -> Vec<Rule> {
    let matches = matches_of_all_kinds(hook)
        .into_iter()
        .filter(|one| fits(family, one));
    matches
        .map(|one| Rule::new([one], verdict.clone()))
        .collect()
}

fn nat_rules(family: Family) -> Vec<Rule> {
    let (to, service) = match family {
        Family::Ip6 => ("[fd00::7]:9080", "fd00::5/128"),
        _ => ("10.244.0.7:9080", "10.96.0.5/32"),
    };
    let to_port = Match::DestinationPort(Op::Is, Proto::Tcp, 80);
    let mut counted = Rule::new([to_port.clone()], Verdict::Redirect(15001));
    counted.counter = true;
    let to_service = [
        Match::Destination(Op::Is, net(service)),
        to_port,
        Match::OneIn(2),
    ];
    vec![
        counted,
        Rule::new([], Verdict::Jump("LATER".to_owned())),
        Rule::new(to_service, Verdict::DestinationNat(addr(to))),
    ]
}

fn filter_rules() -> Vec<Rule> {
    let udp = Match::Protocol(Op::Is, Proto::Udp);
    let port = Match::DestinationPort(Op::Is, Proto::Tcp, 99);
    vec![
        Rule::new([udp], Verdict::RejectPortUnreachable),
        Rule::new([port], Verdict::RejectTcpReset),
        Rule::new([Match::Mark(Op::Is, 5)], Verdict::Drop),
        Rule::new([], Verdict::Accept),
    ]
}

fn table_of_everything(family: Family) -> Table {
    let loopback = Match::OutInterface(Op::Is, "lo".to_owned());
    let masquerade = vec![Rule::new([loopback], Verdict::Masquerade)];
    let prerouting = each(family, Hook::Prerouting, &Verdict::Return);
    let later = each(family, Hook::Output, &Verdict::Goto("LAST".to_owned()));
    Table {
        family,
        name: "everything".to_owned(),
        chains: vec![
            Chain::base("OUT", Kind::Nat, Hook::Output, -100, nat_rules(family)),
            Chain::base("PRE", Kind::Nat, Hook::Prerouting, -100, prerouting),
            Chain::base("POST", Kind::Nat, Hook::Postrouting, 100, masquerade),
            Chain::base("FORWARD", Kind::Filter, Hook::Forward, 0, filter_rules()),
            Chain::regular("LATER", later),
            Chain::regular("LAST", vec![Rule::new([Match::OneIn(2)], Verdict::Drop)]),
        ],
    }
}

fn nft(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "nft {arguments:?}: {errors}\n{input}"
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn netlink_and_text_give_the_same_rules() {
    isolated("nft::tests::netlink_and_text_give_the_same_rules", || {
        for family in [Family::Inet, Family::Ip, Family::Ip6] {
            let table = table_of_everything(family);
            apply(&table).unwrap();
            if !has_nft() {
                continue;
            }
            let by_netlink = nft(&["list", "ruleset"], "");
            delete(family, "everything").unwrap();
            assert_eq!(nft(&["list", "ruleset"], ""), "", "the table is gone");
            nft(&["-f", "-"], &table.to_text());
            assert_eq!(by_netlink, nft(&["list", "ruleset"], ""), "{family:?}");
            let rules: usize = table.chains.iter().map(|chain| chain.rules.len()).sum();
            let listed = by_netlink
                .lines()
                .filter(|line| line.starts_with("\t\t") && !line.contains("hook"));
            assert_eq!(listed.count(), rules);
            delete(family, "everything").unwrap();
        }
    });
}

#[test]
fn refusal_names_the_rule_and_keeps_the_old_table() {
    isolated(
        "nft::tests::refusal_names_the_rule_and_keeps_the_old_table",
        || {
            let mut table = table_of_everything(Family::Inet);
            apply(&table).unwrap();
            let before = read_back(Family::Inet, "everything").unwrap();
            table.chains[0]
                .rules
                .push(Rule::new([], Verdict::Jump("NOWHERE".to_owned())));
            let error = apply(&table).unwrap_err().to_string();
            assert!(
                error.contains("rule `jump NOWHERE` of chain OUT"),
                "{error}"
            );
            assert_eq!(read_back(Family::Inet, "everything").unwrap(), before);
        },
    );
}

#[test]
fn reads_back_chains_with_hooks_and_rule_counts() {
    isolated(
        "nft::tests::reads_back_chains_with_hooks_and_rule_counts",
        || {
            assert_eq!(read_back(Family::Inet, "everything").unwrap(), vec![]);
            let table = table_of_everything(Family::Inet);
            apply(&table).unwrap();
            apply(&Table {
                name: "other".to_owned(),
                ..table.clone()
            })
            .unwrap();
            let expected: Vec<ChainSummary> = table
                .chains
                .iter()
                .map(|chain| ChainSummary {
                    name: chain.name.clone(),
                    base: chain.base,
                    rules: chain.rules.len(),
                })
                .collect();
            assert_eq!(read_back(Family::Inet, "everything").unwrap(), expected);
            delete(Family::Inet, "everything").unwrap();
            delete(Family::Inet, "everything").unwrap();
            assert_eq!(read_back(Family::Inet, "everything").unwrap(), vec![]);
        },
    );
}

#[test]
fn takes_many_rules_in_one_transaction() {
    isolated("nft::tests::takes_many_rules_in_one_transaction", || {
        let rule = |number: u16| {
            let matches = [
                Match::Destination(Op::Is, net("10.96.0.5/32")),
                Match::DestinationPort(Op::Is, Proto::Tcp, number),
            ];
            Rule::new(matches, Verdict::DestinationNat(addr("10.244.0.9:80")))
        };
        let rules: Vec<Rule> = (1..=700).map(rule).collect();
        let chains = vec![Chain::base("OUT", Kind::Nat, Hook::Output, -100, rules)];
        apply(&Table {
            family: Family::Ip,
            name: "many".to_owned(),
            chains,
        })
        .unwrap();
        assert_eq!(read_back(Family::Ip, "many").unwrap()[0].rules, 700);
    });
}

#[test]
fn redirected_connections_know_their_original_destination() {
    isolated(
        "nft::tests::redirected_connections_know_their_original_destination",
        || {
            let rule = Rule::new(
                [Match::DestinationPort(Op::Is, Proto::Tcp, 80)],
                Verdict::Redirect(15001),
            );
            let chains = vec![Chain::base(
                "OUT",
                Kind::Nat,
                Hook::Output,
                -100,
                vec![rule],
            )];
            apply(&Table {
                family: Family::Inet,
                name: "redirect".to_owned(),
                chains,
            })
            .unwrap();
            for (listen, to) in [
                ("127.0.0.1:15001", "127.1.2.3:80"),
                ("[::1]:15001", "[::1]:80"),
            ] {
                let listener = TcpListener::bind(listen).unwrap();
                let client = TcpStream::connect(to).unwrap();
                let (server, _) = listener.accept().unwrap();
                assert_eq!(
                    crate::socket::original_destination(&server).unwrap(),
                    addr(to)
                );
                drop(client);
            }
            let direct = TcpListener::bind("127.0.0.1:0").unwrap();
            let _client = TcpStream::connect(direct.local_addr().unwrap()).unwrap();
            let (server, _) = direct.accept().unwrap();
            // Tracked but not rewritten: the destination is our own address.
            let own = crate::socket::original_destination(&server).unwrap();
            assert_eq!(own, direct.local_addr().unwrap());
        },
    );
}

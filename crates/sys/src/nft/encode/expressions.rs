//! A rule as the kernel sees it: a list of expressions that load, compare and decide.

use super::*;

/// The expressions of one rule.
pub(super) struct Expressions<'a> {
    out: &'a mut Vec<u8>,
    family: Family,
    /// IP version and protocol already tested in this rule.
    version: Option<u8>,
    protocol: Option<u8>,
}

impl<'a> Expressions<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>, family: Family) -> Expressions<'a> {
        Expressions {
            out,
            family,
            version: None,
            protocol: None,
        }
    }

    pub(super) fn rule(mut self, rule: &Rule) {
        for one in &rule.matches {
            self.one_match(one);
        }
        if rule.counter {
            self.expression("counter", |out| {
                attr(out, 1, &0_u64.to_be_bytes());
                attr(out, 2, &0_u64.to_be_bytes());
            });
        }
        if let Some(verdict) = &rule.verdict {
            self.verdict(verdict);
        }
    }

    fn one_match(&mut self, one: &Match) {
        match one {
            Match::InInterface(op, name) => self.interface(Meta::InName, *op, name),
            Match::OutInterface(op, name) => self.interface(Meta::OutName, *op, name),
            Match::Protocol(Op::Is, proto) => self.need_protocol(protocol_number(*proto)),
            Match::Protocol(op, proto) => {
                self.meta(Meta::TransportProtocol);
                self.compare(*op, &[protocol_number(*proto)]);
            }
            Match::UserId(op, id) => self.meta_number(Meta::UserId, *op, *id),
            Match::GroupId(op, id) => self.meta_number(Meta::GroupId, *op, *id),
            Match::Mark(op, mark) => self.meta_number(Meta::Mark, *op, *mark),
            Match::Ipv4Only => self.need_version(NFPROTO_IPV4),
            Match::Ipv6Only => self.need_version(NFPROTO_IPV6),
            // Offsets of the addresses in the IPv4 and IPv6 headers.
            Match::Source(op, prefix) => self.address(*op, prefix, [12, 8]),
            Match::Destination(op, prefix) => self.address(*op, prefix, [16, 24]),
            Match::SourcePort(op, proto, port) => self.port(*op, *proto, 0, *port),
            Match::DestinationPort(op, proto, port) => self.port(*op, *proto, 2, *port),
            Match::DestinationIsLocal(op) => self.destination_is_local(*op),
            Match::Established => self.established(),
            Match::OneIn(count) => self.one_in(*count),
        }
    }

    fn verdict(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Accept => self.immediate_verdict(1, None),
            Verdict::Drop => self.immediate_verdict(0, None),
            Verdict::Return => self.immediate_verdict(-5, None),
            Verdict::Jump(chain) => self.immediate_verdict(-3, Some(chain)),
            Verdict::Goto(chain) => self.immediate_verdict(-4, Some(chain)),
            Verdict::Redirect(port) => self.redirect(*port),
            Verdict::DestinationNat(to) => self.destination_nat(*to),
            Verdict::Masquerade => self.expression("masq", |_| {}),
            // NFT_REJECT_ICMPX_UNREACH, NFT_REJECT_ICMPX_PORT_UNREACH
            Verdict::RejectPortUnreachable => match self.family {
                Family::Inet => self.reject(2, 1),
                Family::Ip => self.reject(0, 3), // ICMP_PORT_UNREACH
                Family::Ip6 => self.reject(0, 4), // ICMPV6_PORT_UNREACH
            },
            Verdict::RejectTcpReset => {
                self.need_protocol(protocol_number(Proto::Tcp));
                self.reject(1, 0);
            }
        }
    }

    fn interface(&mut self, key: Meta, op: Op, name: &str) {
        self.meta(key);
        match name.strip_suffix('*') {
            Some(prefix) => self.compare(op, prefix.as_bytes()),
            None => {
                let mut padded = [0; libc::IFNAMSIZ];
                let length = name.len().min(libc::IFNAMSIZ - 1);
                padded[..length].copy_from_slice(&name.as_bytes()[..length]);
                self.compare(op, &padded);
            }
        }
    }

    fn meta_number(&mut self, key: Meta, op: Op, value: u32) {
        self.meta(key);
        self.compare(op, &value.to_ne_bytes());
    }

    fn need_version(&mut self, version: u8) {
        if self.family != Family::Inet || self.version == Some(version) {
            return;
        }
        self.meta(Meta::NetworkProtocol);
        self.compare(Op::Is, &[version]);
        self.version = Some(version);
    }

    fn need_protocol(&mut self, protocol: u8) {
        if self.protocol == Some(protocol) {
            return;
        }
        self.meta(Meta::TransportProtocol);
        self.compare(Op::Is, &[protocol]);
        self.protocol = Some(protocol);
    }

    fn address(&mut self, op: Op, prefix: &IpNet, offsets: [u32; 2]) {
        let (version, offset) = match prefix {
            IpNet::V4(_) => (NFPROTO_IPV4, offsets[0]),
            IpNet::V6(_) => (NFPROTO_IPV6, offsets[1]),
        };
        self.need_version(version);
        let (mask, network) = (octets(prefix.netmask()), octets(prefix.network()));
        let length = u32::try_from(mask.len()).expect("4 or 16");
        self.payload(1, offset, length);
        if prefix.prefix_len() < prefix.max_prefix_len() {
            self.bitwise(&mask);
        }
        self.compare(op, &network);
    }

    fn port(&mut self, op: Op, proto: Proto, offset: u32, port: u16) {
        self.need_protocol(protocol_number(proto));
        self.payload(2, offset, 2);
        self.compare(op, &port.to_be_bytes());
    }

    fn destination_is_local(&mut self, op: Op) {
        self.expression("fib", |out| {
            attr_u32(out, 1, REG_1);
            attr_u32(out, 2, 3); // NFT_FIB_RESULT_ADDRTYPE
            attr_u32(out, 3, 2); // NFTA_FIB_F_DADDR
        });
        self.compare(op, &2_u32.to_ne_bytes()); // RTN_LOCAL
    }

    fn established(&mut self) {
        self.expression("ct", |out| {
            attr_u32(out, 1, REG_1);
            attr_u32(out, 2, 0); // NFT_CT_STATE
        });
        // NF_CT_STATE_BIT(IP_CT_ESTABLISHED) | NF_CT_STATE_BIT(IP_CT_RELATED)
        self.bitwise(&6_u32.to_ne_bytes());
        self.compare(Op::IsNot, &0_u32.to_ne_bytes());
    }

    fn one_in(&mut self, count: u32) {
        self.expression("numgen", |out| {
            attr_u32(out, 1, REG_1);
            attr_u32(out, 2, count.max(1));
            attr_u32(out, 3, 1); // NFT_NG_RANDOM
            attr_u32(out, 4, 0);
        });
        self.compare(Op::Is, &0_u32.to_ne_bytes());
    }

    fn redirect(&mut self, port: u16) {
        self.immediate(REG_1, &port.to_be_bytes());
        self.expression("redir", |out| {
            attr_u32(out, 1, REG_1);
            attr_u32(out, 3, 2); // NF_NAT_RANGE_PROTO_SPECIFIED
        });
    }

    fn destination_nat(&mut self, to: SocketAddr) {
        let version = if to.is_ipv4() {
            NFPROTO_IPV4
        } else {
            NFPROTO_IPV6
        };
        self.need_version(version);
        self.immediate(REG_1, &octets(to.ip()));
        self.immediate(REG_2, &to.port().to_be_bytes());
        self.expression("nat", |out| {
            attr_u32(out, 1, 1); // NFT_NAT_DNAT
            attr_u32(out, 2, u32::from(version));
            attr_u32(out, 3, REG_1);
            attr_u32(out, 5, REG_2);
            attr_u32(out, 7, 2); // NF_NAT_RANGE_PROTO_SPECIFIED
        });
    }

    fn reject(&mut self, kind: u32, code: u8) {
        self.expression("reject", |out| {
            attr_u32(out, 1, kind);
            attr(out, 2, &[code]);
        });
    }

    fn immediate_verdict(&mut self, code: i32, chain: Option<&str>) {
        self.expression("immediate", |out| {
            attr_u32(out, 1, REG_VERDICT);
            nested(out, 2, |out| {
                nested(out, 2, |out| {
                    attr(out, 1, &code.to_be_bytes());
                    if let Some(chain) = chain {
                        attr(out, 2, &terminated(chain));
                    }
                });
            });
        });
    }

    fn immediate(&mut self, register: u32, value: &[u8]) {
        self.expression("immediate", |out| {
            attr_u32(out, 1, register);
            nested(out, 2, |out| attr(out, 1, value));
        });
    }

    fn meta(&mut self, key: Meta) {
        self.expression("meta", |out| {
            attr_u32(out, 1, REG_1);
            attr_u32(out, 2, key as u32);
        });
    }

    /// `base`: 1 network header, 2 transport header.
    fn payload(&mut self, base: u32, offset: u32, length: u32) {
        self.expression("payload", |out| {
            attr_u32(out, 1, REG_1);
            attr_u32(out, 2, base);
            attr_u32(out, 3, offset);
            attr_u32(out, 4, length);
        });
    }

    fn bitwise(&mut self, mask: &[u8]) {
        let length = u32::try_from(mask.len()).expect("4 or 16");
        self.expression("bitwise", |out| {
            attr_u32(out, 1, REG_1);
            attr_u32(out, 2, REG_1);
            attr_u32(out, 3, length);
            nested(out, 4, |out| attr(out, 1, mask));
            nested(out, 5, |out| attr(out, 1, &vec![0; mask.len()]));
        });
    }

    fn compare(&mut self, op: Op, value: &[u8]) {
        self.expression("cmp", |out| {
            attr_u32(out, 1, REG_1);
            attr_u32(out, 2, u32::from(op == Op::IsNot)); // NFT_CMP_EQ, NFT_CMP_NEQ
            nested(out, 3, |out| attr(out, 1, value));
        });
    }

    fn expression(&mut self, name: &str, data: impl FnOnce(&mut Vec<u8>)) {
        nested(self.out, 1, |out| {
            attr(out, 1, &terminated(name));
            nested(out, 2, data);
        });
    }
}

fn protocol_number(proto: Proto) -> u8 {
    match proto {
        Proto::Tcp => 6,
        Proto::Udp => 17,
    }
}

fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

use hickory_proto::op::Query;

use super::*;
use crate::dns::zone::Target;

fn zone() -> Zone {
    let mut zone = Zone::default();
    zone.add_addresses("web.shop.svc.cluster.local", &[[10, 96, 1, 7].into()]);
    let pods = [[10, 244, 0, 5].into(), [10, 244, 0, 6].into()];
    zone.add_addresses("db.shop.svc.cluster.local", &pods);
    zone.add_addresses("db-0.db.shop.svc.cluster.local", &pods[..1]);
    let target = Target {
        host: "web.shop.svc.cluster.local".to_owned(),
        port: 80,
    };
    zone.add_service("_http._tcp.web.shop.svc.cluster.local", vec![target]);
    zone.add_alias("out.shop.svc.cluster.local", "example.com");
    zone.add_alias("in.shop.svc.cluster.local", "web.shop.svc.cluster.local");
    zone.add_alias(
        "round.shop.svc.cluster.local",
        "round.shop.svc.cluster.local",
    );
    zone
}

fn ask(name: &str, kind: RecordType) -> Option<(ResponseCode, Vec<String>)> {
    let mut query = Message::query();
    query.add_query(Query::query(Name::from_str(name).unwrap(), kind));
    match answer(&query, &zone()) {
        Answer::Forward => None,
        Answer::Reply(message) | Answer::Alias(message, _) => {
            assert_eq!(message.metadata.id, query.metadata.id);
            assert_eq!(message.metadata.message_type, MessageType::Response);
            let records = message.answers.iter().map(|record| record.data.to_string());
            Some((message.metadata.response_code, records.collect()))
        }
    }
}

fn records(name: &str, kind: RecordType) -> Vec<String> {
    let (code, records) = ask(name, kind).unwrap();
    assert_eq!(code, ResponseCode::NoError, "{name}");
    records
}

#[test]
fn services_and_pods_have_addresses() {
    assert_eq!(
        records("web.shop.svc.cluster.local.", RecordType::A),
        ["10.96.1.7"]
    );
    assert_eq!(
        records("WEB.Shop.svc.cluster.local.", RecordType::A),
        ["10.96.1.7"]
    );
    let headless = records("db.shop.svc.cluster.local.", RecordType::A);
    assert_eq!(headless, ["10.244.0.5", "10.244.0.6"]);
    assert_eq!(
        records("db-0.db.shop.svc.cluster.local.", RecordType::A),
        ["10.244.0.5"]
    );
}

#[test]
fn named_ports_have_srv_records() {
    let found = records("_http._tcp.web.shop.svc.cluster.local.", RecordType::SRV);
    assert_eq!(found, ["0 100 80 web.shop.svc.cluster.local."]);
}

#[test]
fn aaaa_of_a_known_name_is_empty_and_not_an_error() {
    assert!(records("web.shop.svc.cluster.local.", RecordType::AAAA).is_empty());
    assert!(
        records("shop.svc.cluster.local.", RecordType::A).is_empty(),
        "an empty non-terminal"
    );
}

#[test]
fn unknown_names_of_ours_do_not_exist_and_others_are_forwarded() {
    let (code, _) = ask("none.shop.svc.cluster.local.", RecordType::A).unwrap();
    assert_eq!(code, ResponseCode::NXDomain);
    let (code, _) = ask("example.com.svc.cluster.local.", RecordType::A).unwrap();
    assert_eq!(code, ResponseCode::NXDomain);
    assert!(ask("example.com.", RecordType::A).is_none());
    assert!(ask("notcluster.local.", RecordType::A).is_none());
}

#[test]
fn external_names_are_aliases() {
    assert_eq!(
        records("out.shop.svc.cluster.local.", RecordType::A),
        ["example.com."]
    );
    assert_eq!(
        records("in.shop.svc.cluster.local.", RecordType::A),
        ["web.shop.svc.cluster.local.", "10.96.1.7"]
    );
    let circle = records("round.shop.svc.cluster.local.", RecordType::A);
    assert_eq!(circle.len(), MOST_ALIASES);
}

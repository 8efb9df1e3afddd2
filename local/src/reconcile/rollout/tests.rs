use super::*;

const DEFAULT: Strategy = Strategy::Rolling {
    surge: 1,
    unavailable: 0,
};

fn members(text: &str) -> Vec<Member> {
    // o old, n new; upper case = available.
    text.chars()
        .enumerate()
        .map(|(index, letter)| Member {
            name: format!("{letter}{index}"),
            current: letter.eq_ignore_ascii_case(&'n'),
            available: letter.is_uppercase(),
        })
        .collect()
}

fn did(replicas: usize, strategy: Strategy, state: &str, ending: usize) -> (usize, String) {
    let step = step(replicas, strategy, &members(state), ending);
    (step.create, step.delete.join(" "))
}

#[test]
fn starts_and_scales() {
    assert_eq!(did(3, DEFAULT, "", 0), (3, String::new()));
    assert_eq!(did(3, DEFAULT, "NN", 0), (1, String::new()));
    assert_eq!(did(1, DEFAULT, "NnN", 0), (0, "n1 N2".to_owned()));
    assert_eq!(did(0, DEFAULT, "OO", 0), (0, "O0 O1".to_owned()));
}

#[test]
fn a_roll_waits_for_readiness() {
    assert_eq!(did(1, DEFAULT, "O", 0), (1, String::new()));
    assert_eq!(
        did(1, DEFAULT, "On", 0),
        (0, String::new()),
        "the new one is not ready yet"
    );
    assert_eq!(did(1, DEFAULT, "ON", 0), (0, "O0".to_owned()));
    assert_eq!(did(1, DEFAULT, "N", 1), (0, String::new()));
}

#[test]
fn unavailable_pods_may_be_missing() {
    let strategy = Strategy::Rolling {
        surge: 0,
        unavailable: 1,
    };
    assert_eq!(did(2, strategy, "OO", 0), (0, "O0".to_owned()));
    assert_eq!(did(2, strategy, "O", 1), (1, String::new()));
    assert_eq!(did(2, strategy, "On", 0), (0, String::new()));
    assert_eq!(did(2, strategy, "ON", 0), (0, "O0".to_owned()));
}

#[test]
fn broken_old_pods_go_first() {
    assert_eq!(did(2, DEFAULT, "Oo", 0), (1, "o1".to_owned()));
}

#[test]
fn recreate_waits_until_all_are_gone() {
    assert_eq!(did(2, Strategy::Recreate, "OO", 0), (0, "O0 O1".to_owned()));
    assert_eq!(did(2, Strategy::Recreate, "", 2), (0, String::new()));
    assert_eq!(did(2, Strategy::Recreate, "", 0), (2, String::new()));
}

#[test]
fn every_state_converges_within_its_limits() {
    for (surge, unavailable) in [(1, 0), (0, 1), (2, 1), (3, 3)] {
        let strategy = Strategy::Rolling { surge, unavailable };
        let replicas = 4;
        let mut state = members("OOOO");
        for round in 0..50 {
            let next = step(replicas, strategy, &state, 0);
            state.retain(|member| !next.delete.contains(&member.name));
            for index in 0..next.create {
                let name = format!("n{round}-{index}");
                state.push(Member {
                    name,
                    current: true,
                    available: false,
                });
            }
            assert!(state.len() <= replicas + surge, "{strategy:?} {state:?}");
            let available = state.iter().filter(|member| member.available).count();
            assert!(
                available + unavailable >= replicas,
                "{strategy:?} {state:?}"
            );
            // One pod becomes ready per round.
            if let Some(member) = state.iter_mut().find(|member| !member.available) {
                member.available = true;
            }
        }
        assert!(state.iter().all(|member| member.current) && state.len() == replicas);
    }
}

#[test]
fn percentages_round_as_kubernetes_rounds() {
    assert_eq!(
        Strategy::parse(None, 1).unwrap(),
        Strategy::Rolling {
            surge: 1,
            unavailable: 0
        }
    );
    assert_eq!(
        Strategy::parse(None, 10).unwrap(),
        Strategy::Rolling {
            surge: 3,
            unavailable: 2
        }
    );
    let strategy = serde_json::from_value(serde_json::json!(
        {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "x"}}
    ))
    .unwrap();
    assert!(
        Strategy::parse(Some(&strategy), 1)
            .unwrap_err()
            .contains("maxUnavailable")
    );
}

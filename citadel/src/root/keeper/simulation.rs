//! A mesh during rotations: workloads renew when they like, and see new roots as late as they may.
//! At every moment each of them must trust each other one, and the control plane.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use mesh_identity::peer;
use mesh_identity::{SpiffeId, TrustBundle, csr};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};

use super::tests::{HOUR, Operator, PROPAGATION, Replica, own};
use crate::authority::Authority;
use crate::root::secret;

const STEP: Duration = Duration::from_secs(30);
/// As late as a kubelet may be: less than the propagation time.
const LAG_STEPS: usize = 9;
/// Of a workload's certificates: the replica's longest is a day.
const LIFE: Duration = HOUR;

struct Workload {
    id: SpiffeId,
    renew_every: usize,
    chain: Vec<CertificateDer<'static>>,
    /// The roots that came with the certificate.
    roots: String,
}

impl Workload {
    fn renew(&mut self, authority: &Authority, now: SystemTime) {
        let (_, request) = csr::generate(&self.id).unwrap();
        let issued = authority.sign(&request, &self.id, LIFE, now).unwrap();
        let read = |pem: &String| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        self.chain = issued.chain.iter().map(read).collect();
        self.roots = authority.root_pem().to_owned();
    }
}

/// What the mesh does from one step to the next.
struct Mesh {
    replica: Replica,
    workloads: Vec<Workload>,
    /// The ConfigMap's content of the last steps; pods see the first.
    published: VecDeque<String>,
    steps: usize,
}

impl Mesh {
    fn new() -> Self {
        let workload = |(number, renew_every)| Workload {
            id: format!("spiffe://cluster.local/ns/default/sa/w{number}")
                .parse()
                .unwrap(),
            renew_every,
            chain: Vec::new(),
            roots: String::new(),
        };
        Self {
            replica: Replica::new(),
            // Every 30 s, 10 and 55 minutes.
            workloads: [1, 20, 110].into_iter().enumerate().map(workload).collect(),
            published: VecDeque::new(),
            steps: 0,
        }
    }

    fn runs_for(&mut self, time: Duration) -> Authority {
        let mut authority = self.replica.leads();
        for _ in 0..time.as_secs() / STEP.as_secs() {
            authority = self.replica.leads();
            self.published.push_back(authority.root_pem().to_owned());
            if self.published.len() > LAG_STEPS {
                self.published.pop_front();
            }
            for workload in &mut self.workloads {
                if self.steps.is_multiple_of(workload.renew_every) {
                    workload.renew(&authority, self.replica.now);
                }
            }
            self.all_trust_each_other();
            self.steps += 1;
            self.replica.now += STEP;
        }
        authority
    }

    fn all_trust_each_other(&self) {
        let since = self.replica.now.duration_since(SystemTime::UNIX_EPOCH);
        let now = UnixTime::since_unix_epoch(since.unwrap());
        let file = self.published.front().unwrap();
        for one in &self.workloads {
            let pem = format!("{}{file}", one.roots);
            let bundle = TrustBundle::from_pem(&one.id.trust_domain(), pem.as_bytes()).unwrap();
            for other in &self.workloads {
                peer::verify(&other.chain, &bundle, now).unwrap_or_else(|error| {
                    panic!("step {}: {} to {}: {error}", self.steps, one.id, other.id)
                });
            }
        }
    }
}

#[test]
fn no_workload_is_distrusted_while_the_self_signed_root_is_rotated() {
    let mut mesh = Mesh::new();
    mesh.replica.sees(secret::SELF_SIGNED, Some(own())).unwrap();
    let first = mesh.runs_for(2 * PROPAGATION);
    let mut asked = mesh.replica.keeper.own_secret.clone().unwrap();
    let annotations = asked.metadata.annotations.get_or_insert_default();
    annotations.insert(secret::ROTATE.to_owned(), "now".to_owned());
    mesh.replica.sees(secret::SELF_SIGNED, Some(asked)).unwrap();
    let second = mesh.runs_for(2 * HOUR);
    assert_ne!(first.certificate(), second.certificate());
}

#[test]
fn no_workload_is_distrusted_while_the_operator_exchanges_everything() {
    let (one, two) = (Operator::new("One"), Operator::new("Two"));
    let mut mesh = Mesh::new();
    mesh.replica.sees(secret::SELF_SIGNED, Some(own())).unwrap();
    mesh.runs_for(PROPAGATION);
    // Plugged in, another intermediate, another root at one stroke, and gone again.
    for plugged_in in [
        Some(one.plugs_in("")),
        Some(one.plugs_in("")),
        Some(two.plugs_in("")),
        Some(one.plugs_in(&two.pem)),
        None,
    ] {
        mesh.replica.sees(secret::PLUGGED_IN, plugged_in).unwrap();
        mesh.runs_for(HOUR);
    }
}

//! One step of a Deployment: how many pods of the present template to start and which old ones
//! to end, so that never more than `maxSurge` too many nor more than `maxUnavailable` too few run.
//!
//! Pure: called at every change of any pod's state, it converges.
//! Source: Kubernetes deployment controller (`rolling.go`, `recreate.go`).

use k8s_openapi::api::apps::v1::DeploymentStrategy;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// How one set of pods follows another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// Every old pod ends before a new one starts.
    Recreate,
    /// Old ones end as new ones become ready.
    Rolling {
        /// Pods allowed beyond the wanted number.
        surge: usize,
        /// Pods allowed to be missing from it.
        unavailable: usize,
    },
}

impl Strategy {
    /// The strategy of a Deployment of `replicas` pods; 25 % each where it says nothing.
    ///
    /// # Errors
    /// The field that cannot be read, and how it should look.
    pub(crate) fn parse(
        strategy: Option<&DeploymentStrategy>,
        replicas: usize,
    ) -> Result<Self, String> {
        let kind = strategy.and_then(|strategy| strategy.type_.as_deref());
        match kind {
            Some("Recreate") => return Ok(Self::Recreate),
            None | Some("RollingUpdate") => {}
            Some(other) => {
                return Err(format!(
                    "spec.strategy.type: {other} is neither RollingUpdate nor Recreate"
                ));
            }
        }
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let quarter = IntOrString::String("25%".to_owned());
        let surge = rolling
            .and_then(|rolling| rolling.max_surge.as_ref())
            .unwrap_or(&quarter);
        let unavailable = rolling
            .and_then(|rolling| rolling.max_unavailable.as_ref())
            .unwrap_or(&quarter);
        let surge = resolve(surge, replicas, Round::Up)
            .ok_or("spec.strategy.rollingUpdate.maxSurge: write a number or a percentage")?;
        let mut unavailable = resolve(unavailable, replicas, Round::Down)
            .ok_or("spec.strategy.rollingUpdate.maxUnavailable: write a number or a percentage")?;
        if surge == 0 && unavailable == 0 {
            // Both zero could never make progress; Kubernetes resolves it the same way.
            unavailable = 1;
        }
        Ok(Self::Rolling { surge, unavailable })
    }
}

#[derive(Clone, Copy)]
enum Round {
    Up,
    Down,
}

fn resolve(value: &IntOrString, replicas: usize, round: Round) -> Option<usize> {
    match value {
        IntOrString::Int(number) => usize::try_from(*number).ok(),
        IntOrString::String(text) => {
            let percent: usize = text.strip_suffix('%')?.parse().ok()?;
            Some(match round {
                Round::Up => (replicas * percent).div_ceil(100),
                Round::Down => replicas * percent / 100,
            })
        }
    }
}

/// What the step needs to know of a pod that isn't being ended yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its name.
    pub(crate) name: String,
    /// Of the present template.
    pub(crate) current: bool,
    /// Ready for as long as `minReadySeconds` asks.
    pub(crate) available: bool,
}

/// What to do now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Step {
    /// Pods of the present template to start.
    pub(crate) create: usize,
    /// Pods to end.
    pub(crate) delete: Vec<String>,
}

/// The next step towards `replicas` pods of the present template.
///
/// `members`: pods not being ended, in order of age, oldest first. `ending`: pods of any template
/// that are being ended but have not gone (they matter to [`Strategy::Recreate`] only, as in
/// Kubernetes).
pub(crate) fn step(replicas: usize, strategy: Strategy, members: &[Member], ending: usize) -> Step {
    let (current, old): (Vec<&Member>, Vec<&Member>) =
        members.iter().partition(|member| member.current);
    if current.len() > replicas {
        let surplus = current.len() - replicas;
        return Step {
            create: 0,
            delete: names(dispensable_first(current), surplus),
        };
    }
    let missing = replicas - current.len();
    match strategy {
        Strategy::Recreate if old.is_empty() && ending == 0 => Step {
            create: missing,
            delete: Vec::new(),
        },
        Strategy::Recreate => Step {
            create: 0,
            delete: names(old, usize::MAX),
        },
        Strategy::Rolling { surge, unavailable } => {
            let create = missing.min((replicas + surge).saturating_sub(members.len()));
            let available = members.iter().filter(|member| member.available).count();
            let least = replicas.saturating_sub(unavailable);
            Step {
                create,
                delete: old_to_end(old, available.saturating_sub(least)),
            }
        }
    }
}

/// Old pods that aren't available serve nobody and go first; then as many others as can be spared.
fn old_to_end(old: Vec<&Member>, spare: usize) -> Vec<String> {
    let (serving, idle): (Vec<&Member>, Vec<&Member>) =
        old.into_iter().partition(|member| member.available);
    let mut delete = names(idle, usize::MAX);
    delete.extend(names(serving, spare));
    delete
}

fn dispensable_first(mut members: Vec<&Member>) -> Vec<&Member> {
    // Youngest first, but those that serve nobody before all others.
    members.reverse();
    members.sort_by_key(|member| member.available);
    members
}

fn names(members: Vec<&Member>, most: usize) -> Vec<String> {
    members
        .into_iter()
        .take(most)
        .map(|member| member.name.clone())
        .collect()
}

#[cfg(test)]
mod tests;

//! What the files of a volume contain.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, KeyToPath, Pod, ServiceAccountTokenProjection, Volume, VolumeProjection,
};

use crate::pod::data::{Data, Files};
use crate::pod::downward::{self, Machine};
use crate::pod::token::{Claims, Signer};

/// The shortest token the API server issues.
const SHORTEST_TOKEN_SECONDS: i64 = 600;
/// Its default lifetime.
const DEFAULT_TOKEN_SECONDS: i64 = 3600;

/// One file of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    /// Its bytes.
    pub(crate) content: Vec<u8>,
    /// Its permission bits.
    pub(crate) mode: u32,
}

/// What volumes show.
pub(crate) struct Sources<'a> {
    /// The pod itself.
    pub(crate) pod: &'a Pod,
    /// Its address, once it has one.
    pub(crate) address: Option<IpAddr>,
    /// The machine it runs on.
    pub(crate) machine: &'a Machine,
    /// ConfigMaps, Secrets, accounts.
    pub(crate) data: &'a Data,
    /// Who signs tokens.
    pub(crate) signer: &'a Signer,
    /// Seconds since 1970.
    pub(crate) now: u64,
}

/// Which token: volume, path.
pub(crate) type TokenSlot = (String, PathBuf);

/// The tokens a pod has, each until it must be renewed.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    issued: BTreeMap<TokenSlot, (u64, Vec<u8>)>,
}

impl Tokens {
    /// When the first of them must be renewed.
    pub(crate) fn next_renewal(&self) -> Option<u64> {
        self.issued.values().map(|(renew_at, _)| *renew_at).min()
    }
}

/// The files of a rendered volume by their relative paths.
///
/// # Errors
/// What is missing or not supported.
pub(crate) fn files(
    volume: &Volume,
    sources: &Sources<'_>,
    tokens: &mut Tokens,
) -> Result<BTreeMap<PathBuf, File>, String> {
    let mut files = BTreeMap::new();
    if let Some(map) = &volume.config_map {
        let found = sources.config_map(&map.name);
        let what = format!("ConfigMap {}", map.name);
        let mode = mode_of(map.default_mode);
        add(
            &mut files,
            found,
            &what,
            map.items.as_deref(),
            map.optional,
            mode,
        )?;
    } else if let Some(secret) = &volume.secret {
        let name = secret.secret_name.as_deref().unwrap_or_default();
        let mode = mode_of(secret.default_mode);
        let found = sources.secret(name);
        let what = format!("Secret {name}");
        add(
            &mut files,
            found,
            &what,
            secret.items.as_deref(),
            secret.optional,
            mode,
        )?;
    } else if let Some(downward) = &volume.downward_api {
        let mode = mode_of(downward.default_mode);
        add_downward(&mut files, downward.items.iter().flatten(), mode, sources)?;
    } else if let Some(projected) = &volume.projected {
        let mode = mode_of(projected.default_mode);
        for source in projected.sources.iter().flatten() {
            project(&mut files, &volume.name, source, mode, sources, tokens)?;
        }
    } else {
        return Err("this kind of volume is not supported here (use emptyDir, hostPath, configMap, secret, downwardAPI or projected)".to_owned());
    }
    Ok(files)
}

fn project(
    files: &mut BTreeMap<PathBuf, File>,
    volume: &str,
    source: &VolumeProjection,
    mode: u32,
    sources: &Sources<'_>,
    tokens: &mut Tokens,
) -> Result<(), String> {
    if let Some(map) = &source.config_map {
        let what = format!("ConfigMap {}", map.name);
        let found = sources.config_map(&map.name);
        return add(
            files,
            found,
            &what,
            map.items.as_deref(),
            map.optional,
            mode,
        );
    }
    if let Some(secret) = &source.secret {
        let what = format!("Secret {}", secret.name);
        let found = sources.secret(&secret.name);
        return add(
            files,
            found,
            &what,
            secret.items.as_deref(),
            secret.optional,
            mode,
        );
    }
    if let Some(downward) = &source.downward_api {
        return add_downward(files, downward.items.iter().flatten(), mode, sources);
    }
    match &source.service_account_token {
        Some(token) => {
            let path = inside(&token.path)?;
            let slot = (volume.to_owned(), path.clone());
            let content = sources.token(token, slot, tokens)?;
            files.insert(path, File { content, mode });
            Ok(())
        }
        None => Err(
            "a projected source is none of configMap, secret, downwardAPI, serviceAccountToken"
                .to_owned(),
        ),
    }
}

impl Sources<'_> {
    fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    fn config_map(&self, name: &str) -> Option<&Files> {
        self.data
            .config_maps
            .get(&(self.namespace().to_owned(), name.to_owned()))
    }

    fn secret(&self, name: &str) -> Option<&Files> {
        self.data
            .secrets
            .get(&(self.namespace().to_owned(), name.to_owned()))
    }

    fn token(
        &self,
        wanted: &ServiceAccountTokenProjection,
        slot: TokenSlot,
        tokens: &mut Tokens,
    ) -> Result<Vec<u8>, String> {
        if let Some((renew_at, token)) = tokens.issued.get(&slot)
            && *renew_at > self.now
        {
            return Ok(token.clone());
        }
        let seconds = wanted.expiration_seconds.unwrap_or(DEFAULT_TOKEN_SECONDS);
        let lifetime = u64::try_from(seconds.max(SHORTEST_TOKEN_SECONDS)).unwrap_or(3600);
        let account = self
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.service_account_name.as_deref())
            .unwrap_or("default");
        let uid = self
            .data
            .accounts
            .get(&(self.namespace().to_owned(), account.to_owned()))
            .ok_or_else(|| format!("ServiceAccount {account} does not exist"))?;
        let claims = Claims {
            namespace: self.namespace(),
            account: (account, uid),
            pod: (
                self.pod.metadata.name.as_deref().unwrap_or_default(),
                self.pod.metadata.uid.as_deref().unwrap_or_default(),
            ),
            audience: wanted.audience.as_deref().unwrap_or_default(),
            lifetime: Duration::from_secs(lifetime),
        };
        let token = self
            .signer
            .issue(&claims, self.now)
            .map_err(|error| error.to_string())?
            .into_bytes();
        // The kubelet renews at 80 % of the lifetime.
        tokens
            .issued
            .insert(slot, (self.now + lifetime * 8 / 10, token.clone()));
        Ok(token)
    }
}

fn add(
    files: &mut BTreeMap<PathBuf, File>,
    found: Option<&Files>,
    what: &str,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    mode: u32,
) -> Result<(), String> {
    let optional = optional == Some(true);
    let Some(found) = found else {
        return if optional {
            Ok(())
        } else {
            Err(format!("{what} does not exist"))
        };
    };
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        for (key, content) in found {
            files.insert(
                inside(key)?,
                File {
                    content: content.clone(),
                    mode,
                },
            );
        }
        return Ok(());
    };
    for item in items {
        let mode = item.mode.map_or(mode, |mode| mode_of(Some(mode)));
        match found.get(&item.key) {
            Some(content) => {
                files.insert(
                    inside(&item.path)?,
                    File {
                        content: content.clone(),
                        mode,
                    },
                );
            }
            None if optional => {}
            None => return Err(format!("{what} has no key {}", item.key)),
        }
    }
    Ok(())
}

fn add_downward<'a>(
    files: &mut BTreeMap<PathBuf, File>,
    items: impl Iterator<Item = &'a DownwardAPIVolumeFile>,
    mode: u32,
    sources: &Sources<'_>,
) -> Result<(), String> {
    for item in items {
        let text = if let Some(field) = &item.field_ref {
            downward::field(
                sources.pod,
                sources.machine,
                sources.address,
                &field.field_path,
            )?
        } else if let Some(resource) = &item.resource_field_ref {
            let container = resource.container_name.as_deref().unwrap_or_default();
            let divisor = resource
                .divisor
                .as_ref()
                .map_or("1", |divisor| divisor.0.as_str());
            let name = &resource.resource;
            downward::resource(sources.pod, sources.machine, container, name, divisor)?
        } else {
            return Err(format!(
                "downwardAPI {}: needs fieldRef or resourceFieldRef",
                item.path
            ));
        };
        let mode = item.mode.map_or(mode, |mode| mode_of(Some(mode)));
        files.insert(
            inside(&item.path)?,
            File {
                content: text.into_bytes(),
                mode,
            },
        );
    }
    Ok(())
}

/// Kubernetes' default mode of rendered files is 0644.
fn mode_of(mode: Option<i32>) -> u32 {
    mode.and_then(|mode| u32::try_from(mode).ok())
        .unwrap_or(0o644)
        & 0o777
}

/// A path that stays inside the volume.
fn inside(path: &str) -> Result<PathBuf, String> {
    let relative = Path::new(path);
    let plain = relative
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty() || !plain {
        return Err(format!("path {path:?} leaves the volume"));
    }
    Ok(relative.to_owned())
}

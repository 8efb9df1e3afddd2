//! The cluster that a command works on: objects of any kind, as JSON.
//!
//! Everything that installs, checks and removes speaks to the API server through [`Cluster`], so
//! errors are worded once: what was attempted, why it failed, and what to do.

mod id;

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PropagationPolicy};
use kube::core::{DynamicObject, GroupVersionKind, Request, Resource};
use kube::discovery::{ApiCapabilities, ApiResource, Discovery, Scope, verbs};
use kube::{Client, Error};
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) use id::ObjectId;

/// Owner of the fields that this program writes.
const FIELD_MANAGER: &str = "meshctl";

/// Requests under way at once: HTTP/2 carries them on one connection, and API servers queue a
/// client's requests beyond a few dozen.
const CONCURRENCY: usize = 16;

/// Options that say which cluster is meant.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ClusterArgs {
    /// Kubeconfig file [default: $KUBECONFIG, then ~/.kube/config].
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one].
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

/// Where the control plane is.
#[derive(Args, Clone, Debug)]
pub(crate) struct MeshNamespace {
    /// Namespace of the control plane.
    #[arg(
        short = 'i',
        long = "istio-namespace",
        value_name = "NAMESPACE",
        default_value = "istio-system"
    )]
    pub(crate) istio_namespace: String,
}

/// How an object is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Apply {
    /// Checked by the API server and its webhooks, and not stored.
    DryRun,
    /// Stored.
    Store,
}

/// A connection to a cluster, and the kinds that it knows.
pub(crate) struct Cluster {
    client: Client,
    kinds: Discovery,
}

impl ClusterArgs {
    /// A client; nothing has been asked yet.
    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        let target = mesh_kubernetes::Target {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
        };
        Ok(mesh_kubernetes::connect(&target).await?)
    }

    /// Connects, and asks which kinds the cluster knows.
    ///
    /// # Errors
    /// If there is no cluster, or it doesn't answer.
    pub(crate) async fn connect(&self) -> anyhow::Result<Cluster> {
        Cluster::of(self.client().await?).await
    }
}

impl Cluster {
    async fn of(client: Client) -> anyhow::Result<Self> {
        let kinds = Box::pin(Discovery::new(client.clone()).run_aggregated()).await;
        let kinds = kinds.map_err(|error| because(&error)).context(
            "ask the cluster what it knows (is it running, and is it the one that \
             `kubectl config current-context` names?)",
        )?;
        Ok(Self { client, kinds })
    }

    /// Asks again which kinds there are: after CRDs have come or gone.
    pub(crate) async fn rediscover(&mut self) -> anyhow::Result<()> {
        *self = Self::of(self.client.clone()).await?;
        Ok(())
    }

    /// Sends a request. Boxed: the client's futures are large, and they are in all of ours.
    pub(crate) async fn request<T: DeserializeOwned>(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<T, Error> {
        let request = request.map_err(Error::BuildRequest)?;
        Box::pin(self.client.request(request)).await
    }

    /// The client, for what is not about objects.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The kind's resource, or `None` if the cluster doesn't know it.
    pub(crate) fn resource(&self, api_version: &str, kind: &str) -> Option<ApiResource> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let found = GroupVersionKind::gvk(group, version, kind);
        self.kinds.resolve_gvk(&found).map(|(resource, _)| resource)
    }

    /// Every kind whose objects can be listed and deleted, in its preferred version.
    pub(crate) fn deletable_kinds(&self) -> impl Iterator<Item = (ApiResource, Scope)> {
        let able = |(_, can): &(ApiResource, ApiCapabilities)| {
            can.supports_operation(verbs::LIST) && can.supports_operation(verbs::DELETE)
        };
        let groups = self.kinds.groups();
        let kinds = groups.flat_map(|group| group.recommended_resources());
        kinds
            .filter(able)
            .map(|(resource, can)| (resource, can.scope))
    }

    /// The object as it is now; `None` if it or its kind doesn't exist.
    pub(crate) async fn get(&self, id: &ObjectId) -> anyhow::Result<Option<Value>> {
        let Some(resource) = self.resource(&id.api_version, &id.kind) else {
            return Ok(None);
        };
        let request =
            requests(&resource, id.namespace.as_deref()).get(&id.name, &Default::default());
        match self.request(request).await {
            Ok(object) => Ok(Some(object)),
            Err(Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(because(&error)).with_context(|| format!("read {id}")),
        }
    }

    /// Many objects as they are now, in the same order.
    pub(crate) async fn get_all(&self, ids: &[ObjectId]) -> anyhow::Result<Vec<Option<Value>>> {
        let gets = stream::iter(ids).map(|id| self.get(id));
        gets.buffered(CONCURRENCY).try_collect().await
    }

    /// Server-side apply: what `object` states is so afterwards, what it doesn't state stays.
    ///
    /// Returns the object as it is then.
    pub(crate) async fn apply(&self, object: &Value, mode: Apply) -> anyhow::Result<Value> {
        let id = ObjectId::of(object)?;
        let resource = self.resource(&id.api_version, &id.kind).with_context(|| {
            format!(
                "apply {id}: the cluster does not know kind {} of {} (is its CRD installed?)",
                id.kind, id.api_version
            )
        })?;
        let mut how = PatchParams::apply(FIELD_MANAGER)
            .force()
            .validation_strict();
        how.dry_run = mode == Apply::DryRun;
        let requests = requests(&resource, id.namespace.as_deref());
        let request = requests.patch(&id.name, &how, &Patch::Apply(object));
        let answer = self.request(request).await;
        answer
            .map_err(|error| because(&error))
            .with_context(|| format!("apply {id}"))
    }

    /// Applies many objects that don't depend on each other; results in the same order.
    pub(crate) async fn apply_all<'a>(
        &self,
        objects: impl IntoIterator<Item = &'a Value>,
        mode: Apply,
    ) -> anyhow::Result<Vec<Value>> {
        // Collected first: a lazy iterator's lifetime would not be general enough for the stream.
        let applies: Vec<_> = objects
            .into_iter()
            .map(|one| self.apply(one, mode))
            .collect();
        stream::iter(applies)
            .buffered(CONCURRENCY)
            .try_collect()
            .await
    }

    /// Deletes an object; what belongs to it goes in the background. `false`: it was gone already.
    pub(crate) async fn delete(&self, id: &ObjectId) -> anyhow::Result<bool> {
        let Some(resource) = self.resource(&id.api_version, &id.kind) else {
            return Ok(false);
        };
        let how = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        let request = requests(&resource, id.namespace.as_deref()).delete(&id.name, &how);
        match self.request::<Value>(request).await {
            Ok(_) => Ok(true),
            Err(Error::Api(status)) if status.code == 404 => Ok(false),
            Err(error) => Err(because(&error)).with_context(|| format!("delete {id}")),
        }
    }

    /// Objects of one kind, complete, each with its `apiVersion` and `kind`.
    ///
    /// `namespace`: `None` for all. An unknown kind has no objects.
    pub(crate) async fn list(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
        which: &ListParams,
    ) -> anyhow::Result<Vec<Value>> {
        let request = requests(resource, namespace).list(which);
        let answer: Value = match self.request(request).await {
            Ok(answer) => answer,
            Err(Error::Api(status)) if status.code == 404 => return Ok(Vec::new()),
            Err(error) => {
                return Err(because(&error)).with_context(|| format!("list {}", resource.plural));
            }
        };
        let Value::Array(mut items) = answer["items"].clone() else {
            return Ok(Vec::new());
        };
        for item in &mut items {
            item["apiVersion"] = resource.api_version.clone().into();
            item["kind"] = resource.kind.clone().into();
        }
        Ok(items)
    }

    /// Objects of a kind named by version and kind; see [`Cluster::list`].
    pub(crate) async fn list_kind(
        &self,
        (api_version, kind): (&str, &str),
        namespace: Option<&str>,
        which: &ListParams,
    ) -> anyhow::Result<Vec<Value>> {
        match self.resource(api_version, kind) {
            Some(resource) => self.list(&resource, namespace, which).await,
            None => Ok(Vec::new()),
        }
    }

    /// Objects of many kinds. A kind whose server part is down (an aggregated API without backend)
    /// has none.
    pub(crate) async fn list_kinds(
        &self,
        resources: Vec<ApiResource>,
        namespace: Option<&str>,
        which: &ListParams,
    ) -> anyhow::Result<Vec<Value>> {
        let lists = resources.iter().map(|one| self.list(one, namespace, which));
        let lists: Vec<_> = lists.collect();
        let lists: Vec<Vec<Value>> = stream::iter(lists)
            .buffered(CONCURRENCY)
            .try_collect()
            .await?;
        Ok(lists.into_iter().flatten().collect())
    }
}

fn requests(resource: &ApiResource, namespace: Option<&str>) -> Request {
    Request::new(DynamicObject::url_path(resource, namespace))
}

/// An error of the API server in words.
pub(crate) fn because(error: &Error) -> anyhow::Error {
    anyhow!(mesh_kubernetes::explain(error))
}

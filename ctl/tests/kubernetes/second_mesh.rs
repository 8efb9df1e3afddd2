//! Two meshes in two namespaces of one cluster.

use super::Cluster;

/// It has a namespace and a revision of its own.
pub(crate) async fn leaves_the_first_alone(cluster: &Cluster) {
    let first = cluster.objects().await;
    for command in ["install -y --readiness-timeout 0", "precheck"] {
        let said = cluster.meshctl(&format!("{command} -i mesh2")).await;
        said.fails()
            .has("revision default is installed in istio-system: use -i istio-system");
    }
    let said = cluster
        .meshctl("uninstall --revision default -i mesh2 -y")
        .await;
    said.fails().has("use -i istio-system");
    cluster
        .meshctl("uninstall --purge -i mesh2 -y")
        .await
        .fails()
        .has("cannot be used with");
    Cluster::same(&cluster.objects().await, &first);
    let second = "install -y -i mesh2 --revision second --readiness-timeout 0";
    cluster.meshctl(second).await.ok();
    let both = cluster.objects().await;
    let lost: Vec<_> = first.difference(&both).collect();
    assert!(lost.is_empty(), "gone or changed: {lost:#?}");
    cluster
        .meshctl(second)
        .await
        .ok()
        .has("nothing was changed");
    Cluster::same(&cluster.objects().await, &both);
    let said = cluster.meshctl("uninstall --revision second -y").await;
    said.fails().has("use -i mesh2");
    cluster
        .meshctl("uninstall --revision second -i mesh2 -y")
        .await
        .ok();
    Cluster::same(&cluster.objects().await, &first);
}

//! Programs in sandboxes.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use mesh_local::net::{Network, PodNetwork};
use mesh_local::sandbox::{
    Capabilities, Child, Exec, Exit, Mount, Source, SpawnError, Spec, Streams, User, exec_in, spawn,
};
use mesh_local::up::Host;

use super::support::pipe;

fn shell(script: &str) -> Exec {
    Exec {
        argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        env: vec![
            ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
            ("COLOUR".to_owned(), "red".to_owned()),
        ],
        cwd: PathBuf::from("/"),
        user: User::default(),
        streams: Streams::default(),
        terminal: false,
    }
}

fn spec(pod: &PodNetwork, exec: Exec) -> Spec {
    Spec {
        netns: pod.netns().clone(),
        hostname: "reviews-v1".to_owned(),
        resolv_conf: "nameserver 10.96.0.10\n".to_owned(),
        hosts: format!("127.0.0.1 localhost\n{} reviews-v1\n", pod.ip()),
        mounts: vec![],
        exec,
        capabilities: Capabilities::default(),
    }
}

/// Runs the container to its end: what it printed (errors too), and how it ended.
async fn output(mut spec: Spec) -> (String, Exit) {
    let (reader, writer) = pipe();
    spec.exec.streams.stderr = Some(writer.try_clone().unwrap());
    spec.exec.streams.stdout = Some(writer);
    let child = spawn(spec).await.unwrap();
    (read(reader).await, child.wait().await)
}

async fn read(mut reader: std::fs::File) -> String {
    tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    })
    .await
    .unwrap()
}

async fn one_pod(host: Host) -> (Network, PodNetwork) {
    let network = Network::create(host).await.unwrap();
    let pod = network.add_pod().await.unwrap();
    (network, pod)
}

pub(crate) async fn containers_have_names_and_mounts(host: Host) {
    let (_network, pod) = one_pod(host).await;
    let script = "hostname 2>/dev/null || cat /proc/sys/kernel/hostname; cat /etc/resolv.conf /etc/hosts \
                  /etc/hostname; echo $COLOUR; pwd; ls -d /proc/[0-9]* | wc -l; cat /proc/net/fib_trie | grep -c ";
    let mut exec = shell(&format!("{script}{}", pod.ip()));
    exec.cwd = PathBuf::from("/made/for/it");
    let (text, exit) = output(spec(&pod, exec)).await;
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("reviews-v1"), "{text}");
    assert_eq!(lines.next(), Some("nameserver 10.96.0.10"));
    assert_eq!(lines.next(), Some("127.0.0.1 localhost"));
    assert_eq!(lines.nth(1), Some("reviews-v1"), "/etc/hostname");
    assert_eq!(
        (lines.next(), lines.next()),
        (Some("red"), Some("/made/for/it"))
    );
    let processes: usize = lines.next().unwrap().parse().unwrap();
    assert!(processes <= 5, "it sees its own processes only: {text}");
    assert_ne!(
        lines.next(),
        Some("0"),
        "it is in the pod's network: {text}"
    );
    assert_eq!(exit, Exit::Code(0));
}

pub(crate) async fn the_host_is_read_only(host: Host) {
    let (_network, pod) = one_pod(host).await;
    let script = "for d in /usr /etc /var /sys /dev /home /bin; do test -d $d && touch $d/mesh-test-file 2>&1; \
                  done; for d in / /tmp /run /var/run /var/tmp /dev/shm; do touch $d/mesh-test-own && echo wrote $d; \
                  done; echo x > /dev/null && echo device; grep -c mesh-test-file /proc/self/mounts";
    let (text, _) = output(spec(&pod, shell(script))).await;
    for writable in ["/", "/tmp", "/run", "/var/run", "/var/tmp", "/dev/shm"] {
        assert!(
            text.contains(&format!("wrote {writable}\n")),
            "{writable}: {text}"
        );
    }
    assert!(text.contains("device\n"), "{text}");
    for host_directory in ["/usr", "/etc", "/var", "/sys", "/dev", "/home"] {
        let path = std::path::Path::new(host_directory).join("mesh-test-file");
        assert!(
            !path.exists(),
            "the host's {host_directory} was written to: {text}"
        );
    }
    assert!(
        !std::path::Path::new("/tmp/mesh-test-own").exists()
            && !std::path::Path::new("/dev/shm/mesh-test-own").exists()
    );
}

pub(crate) async fn mounts_stand_at_any_path(host: Host) {
    let (_network, pod) = one_pod(host).await;
    let shared = tempfile::tempdir().unwrap();
    std::fs::write(shared.path().join("given"), "given").unwrap();
    let files = |name: &str, text: &str| Source::Files {
        files: BTreeMap::from([(PathBuf::from(name), text.as_bytes().to_vec())]),
        mode: 0o640,
    };
    let mount = |path: &str, source: Source, read_only| Mount {
        path: PathBuf::from(path),
        source,
        read_only,
    };
    let mut spec = spec(
        &pod,
        shell(
            "cat /usr/share/mesh-test/deep/html/index /etc/istio/config/mesh /var/run/secrets/tokens/t; ls /usr/share \
         | wc -l; cat /shared/given; echo back > /shared/back; touch /etc/istio/config/x /ro/x 2>/dev/null \
         || echo refused; ls -l /var/run/secrets/tokens/t | cut -c1-10; cat /etc/istio/proxy/../config/mesh; \
         echo cached > /etc/istio/proxy/cache && cat /etc/istio/proxy/cache; cat /etc/one-file /deep/er/g",
        ),
    );
    let host_entries = std::fs::read_dir("/usr/share").unwrap().count();
    spec.mounts = vec![
        mount("/etc/istio/proxy", Source::Empty, false),
        mount(
            "/usr/share/mesh-test/deep/html",
            files("index", "page\n"),
            false,
        ),
        mount("/etc/istio/config", files("mesh", "config\n"), true),
        mount("/var/run/secrets/tokens", files("t", "token\n"), true),
        mount("/shared", Source::Host(shared.path().to_owned()), false),
        mount("/ro", Source::Host(shared.path().to_owned()), true),
        mount(
            "/etc/one-file",
            Source::Host(shared.path().join("given")),
            true,
        ),
        mount("/deep/er", Source::Host(shared.path().to_owned()), true),
        mount("/deep/er/inner", Source::Empty, false),
    ];
    spec.exec.argv[2].push_str("iven; touch /deep/er/inner/x && echo inside");
    let (text, _) = output(spec).await;
    let expected = format!(
        "page\nconfig\ntoken\n{}\ngivenrefused\n-rw-r-----\nconfig\ncached\ngivengiveninside\n",
        host_entries + 1
    );
    assert_eq!(text, expected);
    assert_eq!(
        std::fs::read_to_string(shared.path().join("back")).unwrap(),
        "back\n"
    );
}

pub(crate) async fn programs_in_hidden_directories_run(host: Host) {
    let (_network, pod) = one_pod(host).await;
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    let program = directory.path().join("program");
    std::fs::copy("/bin/sh", &program).unwrap();
    let mut exec = shell("ls -A /tmp; ls -A $(dirname $0); echo $$");
    exec.argv[0] = program.to_str().unwrap().to_owned();
    exec.argv.push(exec.argv[0].clone());
    let (text, exit) = output(spec(&pod, exec)).await;
    let name = directory.path().file_name().unwrap().to_str().unwrap();
    // It sees itself, nothing else of the host's /tmp, and is process 2 of its namespace.
    assert_eq!(
        (text.as_str(), exit),
        (format!("{name}\nprogram\n2\n").as_str(), Exit::Code(0))
    );
}

pub(crate) async fn failures_to_start_are_told(host: Host) {
    let (_network, pod) = one_pod(host).await;
    let mut missing = shell("");
    missing.argv = vec!["/no/such/program".to_owned()];
    let error = spawn(spec(&pod, missing)).await.unwrap_err();
    assert!(
        matches!(&error, SpawnError::Exec { path, source }
        if path.ends_with("program") && source.kind() == std::io::ErrorKind::NotFound),
        "{error}"
    );

    let mut forbidden = shell("");
    forbidden.argv = vec!["/etc/passwd".to_owned()];
    let error = spawn(spec(&pod, forbidden)).await.unwrap_err();
    assert!(
        matches!(&error, SpawnError::Exec { source, .. }
        if source.kind() == std::io::ErrorKind::PermissionDenied),
        "{error}"
    );

    let mut no_source = spec(&pod, shell("true"));
    let source = Source::Host(PathBuf::from("/no/such/volume"));
    no_source.mounts = vec![Mount {
        path: PathBuf::from("/data"),
        source,
        read_only: false,
    }];
    let error = spawn(no_source).await.unwrap_err().to_string();
    assert!(
        error.contains("/no/such/volume") && error.contains("/data"),
        "{error}"
    );

    let mut capability = spec(&pod, shell("true"));
    capability.capabilities.add = vec!["FLY".to_owned()];
    let error = spawn(capability).await.unwrap_err().to_string();
    assert!(error.contains("FLY"), "{error}");

    let mut relative = spec(&pod, shell("true"));
    relative.mounts = vec![Mount {
        path: PathBuf::from("data"),
        source: Source::Empty,
        read_only: false,
    }];
    let error = spawn(relative).await.unwrap_err().to_string();
    assert!(error.contains("not an absolute path"), "{error}");
    assert!(
        spawn(spec(&pod, shell("true"))).await.is_ok(),
        "and the next one starts"
    );
}

pub(crate) async fn exits_and_signals_are_seen(host: Host) {
    let (_network, pod) = one_pod(host).await;
    assert_eq!(output(spec(&pod, shell("exit 7"))).await.1, Exit::Code(7));
    assert_eq!(
        output(spec(&pod, shell("kill -TERM $$"))).await.1,
        Exit::Signal(15)
    );

    // A program without a handler dies of SIGTERM, which process 1 of a namespace would not.
    let child = spawn(spec(&pod, shell("exec sleep 1000"))).await.unwrap();
    assert_eq!(child.try_wait(), None);
    child.signal(15).unwrap();
    assert_eq!(child.wait().await, Exit::Signal(15));
    assert_eq!(child.try_wait(), Some(Exit::Signal(15)));
    assert!(child.signal(15).is_err());

    let (text, exit) = output(spec(
        &pod,
        shell("trap 'echo caught; exit 3' TERM; kill -TERM $$"),
    ))
    .await;
    assert_eq!((text.as_str(), exit), ("caught\n", Exit::Code(3)));

    // Orphans are reaped while the program runs, and killed when it ends: the pipe closes.
    let script = "(sleep 0 &) ; sleep 1000 & \
                  while cat /proc/[0-9]*/stat 2>/dev/null | grep -q '(sleep) [ZR]'; do :; done; echo reaped";
    let (text, _) = output(spec(&pod, shell(script))).await;
    assert_eq!(text, "reaped\n");

    let child = spawn(spec(&pod, shell("sleep 1000 & sleep 1000")))
        .await
        .unwrap();
    child.signal(9).unwrap();
    assert_eq!(child.wait().await, Exit::Signal(9));
}

pub(crate) async fn programs_join_containers(host: Host) {
    let (_network, pod) = one_pod(host).await;
    let (reader, writer) = pipe();
    let mut waiting = spec(
        &pod,
        shell("echo inside > /tmp/mark; echo ready; exec sleep 1000"),
    );
    waiting.exec.streams.stdout = Some(writer);
    let container = spawn(waiting).await.unwrap();
    let mut reader = reader;
    let ready = tokio::task::spawn_blocking(move || {
        let mut bytes = [0; 6];
        reader.read_exact(&mut bytes).map(|()| bytes)
    });
    assert_eq!(&ready.await.unwrap().unwrap(), b"ready\n");

    let (text, exit) = run_in(
        &container,
        "cat /tmp/mark /etc/resolv.conf; cat /proc/2/comm; exit 4",
    )
    .await;
    assert_eq!(
        (text.as_str(), exit),
        ("inside\nnameserver 10.96.0.10\nsleep\n", Exit::Code(4))
    );

    let mut missing = shell("");
    missing.argv = vec!["/no/such/program".to_owned()];
    let error = exec_in(&container, missing).await.unwrap_err();
    assert!(matches!(error, SpawnError::Exec { .. }), "{error}");

    let joined = exec_in(&container, shell("exec sleep 1000")).await.unwrap();
    container.signal(9).unwrap();
    container.wait().await;
    assert_eq!(
        joined.wait().await,
        Exit::Signal(9),
        "it ends with the container"
    );
    assert!(exec_in(&container, shell("true")).await.is_err());
}

async fn run_in(container: &Child, script: &str) -> (String, Exit) {
    let (reader, writer) = pipe();
    let mut exec = shell(script);
    exec.streams.stderr = Some(writer.try_clone().unwrap());
    exec.streams.stdout = Some(writer);
    let child = exec_in(container, exec).await.unwrap();
    (read(reader).await, child.wait().await)
}

pub(crate) async fn capabilities_are_limited(host: Host) {
    let (_network, pod) = one_pod(host).await;
    let script = "grep CapBnd /proc/self/status; id -u; id -g";
    let (default, _) = output(spec(&pod, shell(script))).await;
    assert!(
        default.contains("CapBnd:\t00000000a80425fb"),
        "the runtimes' default set: {default}"
    );

    let mut proxy = spec(&pod, shell(script));
    proxy.exec.user = User {
        uid: Some(1337),
        gid: Some(1337),
        groups: vec![1337],
    };
    proxy.capabilities.drop = vec!["ALL".to_owned()];
    let (text, _) = output(proxy).await;
    let many_ids = std::fs::read_to_string("/proc/self/uid_map")
        .unwrap()
        .contains("4294967295");
    let expected = if many_ids {
        "CapBnd:\t0000000000000000\n1337\n1337\n"
    } else {
        "CapBnd:\t0000000000001000\n0\n0\n"
    };
    assert_eq!(text, expected);

    let mut capture = spec(&pod, shell(script));
    capture.capabilities = Capabilities {
        add: vec!["NET_ADMIN".to_owned()],
        drop: vec!["ALL".to_owned()],
    };
    assert_eq!(output(capture).await.0, "CapBnd:\t0000000000001000\n0\n0\n");
}

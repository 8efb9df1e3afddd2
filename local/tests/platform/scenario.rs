//! One life of a platform, from `up` to `down`.

use std::io::{Read, Seek};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use mesh_local::api::wire::{Exec, Logs};
use mesh_local::client::Client;
use mesh_local::daemon::{Daemon, DaemonError, InnerExit, Options};
use tokio::time::Instant;

/// How long any single condition may take to come true on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

const MANIFESTS: &str = include_str!("scenario.yaml");

/// What came of it.
pub(crate) enum Outcome {
    /// All of it as it should be.
    Passed,
    /// The kernel lets nobody do this here.
    Forbidden(String),
}

/// Runs the scenario.
pub(crate) async fn run() -> Result<Outcome, String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let options = prepare(dir.path());
    let daemon = match Daemon::start(&options) {
        Ok(daemon) => daemon,
        Err(DaemonError::Up(error @ mesh_local::up::UpError::Forbidden { .. })) => {
            return Ok(Outcome::Forbidden(error.to_string()));
        }
        Err(error) => return Err(error.to_string()),
    };
    let client = Client::new(&options.state_dir);
    let ended = daemon.run();
    tokio::pin!(ended);
    let checked = tokio::select! {
        exit = &mut ended => Err(format!("the platform ended: {exit:?}")),
        checked = check(&client, &options) => checked,
    };
    if checked.is_err() {
        let log = std::fs::read_to_string(options.state_dir.join("platform.log"));
        eprintln!("{}", log.unwrap_or_default());
        eprintln!("{:#?}", client.status().await.ok());
    }
    let down = tokio::spawn(async move { client.down().await });
    let exit = ended.await.map_err(|error| error.to_string())?;
    checked?;
    down.await
        .map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())?;
    if exit != InnerExit::Code(0) {
        return Err(format!("the platform ended with {exit:?}"));
    }
    nothing_left(&options.state_dir)?;
    Ok(Outcome::Passed)
}

fn prepare(dir: &Path) -> Options {
    let manifests = dir.join("manifests");
    std::fs::create_dir(&manifests).unwrap();
    std::fs::write(manifests.join("app.yaml"), MANIFESTS).unwrap();
    let program = std::env::current_exe().unwrap();
    let images = format!(
        "- {{image: test/web, command: [{}, serve]}}\n- {{image: sh, command: [/bin/sh]}}\n",
        program.display()
    );
    std::fs::write(manifests.join("images.yaml"), images).unwrap();
    Options {
        state_dir: dir.join("state"),
        paths: vec![manifests],
        publish: vec!["*=0".parse().unwrap()],
        bin_dir: program.parent().unwrap().to_owned(),
        search_path: Vec::new(),
        mesh: false,
        grace: Duration::from_secs(2),
        log: "debug,hyper=info".to_owned(),
    }
}

async fn check(client: &Client, options: &Options) -> Result<(), String> {
    ready(client, "web", 2).await?;
    ready(client, "client", 1).await?;
    unknown_images_are_named(client).await?;
    let url = "http://web.default.svc.cluster.local:80";
    let first = get(client, url).await?;
    if !first.contains(" hello hello") {
        return Err(format!("the service answered {first:?}"));
    }
    both_pods_answer(client).await?;
    published(client).await?;
    logs(client).await?;
    kubelet_rules(client).await?;
    second_up_is_refused(options)?;
    settings_are_followed(client, options).await?;
    restart_loses_nothing(client).await
}

async fn unknown_images_are_named(client: &Client) -> Result<(), String> {
    let status = client.status().await.map_err(|error| error.to_string())?;
    let broken = status
        .workloads
        .iter()
        .find(|workload| workload.name == "broken");
    let reason = broken
        .and_then(|broken| broken.reason.clone())
        .unwrap_or_default();
    if reason.contains("ErrImagePull") && reason.contains("images.yaml") {
        Ok(())
    } else {
        Err(format!("an unknown image is told as {reason:?}"))
    }
}

async fn ready(client: &Client, name: &str, wanted: u32) -> Result<(), String> {
    until(&format!("{name} is ready"), async || {
        let Ok(status) = client.status().await else {
            return false;
        };
        status.workloads.iter().any(|workload| {
            workload.name == name && workload.is_ready() && workload.ready == wanted
        })
    })
    .await
}

async fn until(what: &str, condition: impl AsyncFn() -> bool) -> Result<(), String> {
    let deadline = Instant::now() + DEADLINE;
    while !condition().await {
        if Instant::now() > deadline {
            return Err(format!("never came true: {what}"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// What a GET from the client pod prints.
async fn get(client: &Client, url: &str) -> Result<String, String> {
    let program = std::env::current_exe().unwrap().display().to_string();
    let (code, text) = exec(client, vec![program, "get".to_owned(), url.to_owned()]).await?;
    if code == 0 {
        Ok(text)
    } else {
        Err(format!("GET {url} from a pod: {text}"))
    }
}

async fn exec(client: &Client, command: Vec<String>) -> Result<(i32, String), String> {
    let mut output = tempfile::tempfile().unwrap();
    let input = std::fs::File::open("/dev/null").unwrap();
    let request = Exec {
        namespace: "default".to_owned(),
        pod: "client".to_owned(),
        container: None,
        command,
    };
    let stdio = [input.as_fd(), output.as_fd(), output.as_fd()];
    let code = client
        .exec(request, stdio)
        .await
        .map_err(|error| error.to_string())?;
    let mut text = String::new();
    output.rewind().unwrap();
    output
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    Ok((code, text))
}

async fn both_pods_answer(client: &Client) -> Result<(), String> {
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..30 {
        let text = get(client, "http://web:80").await?;
        names.extend(text.split(' ').next().map(str::to_owned));
    }
    if names.len() == 2 {
        Ok(())
    } else {
        Err(format!("of two pods {names:?} answered"))
    }
}

/// Sidecars, headless names, exec probes, finished pods and restarts.
async fn kubelet_rules(client: &Client) -> Result<(), String> {
    ready(client, "parts", 1).await?;
    get(client, "http://first.parts:7070").await?;
    get(client, "http://parts.default.svc:7070").await?;
    until(
        "a pod that never restarts has failed with its exit code",
        async || {
            let status = pod_status(client, "work").await;
            let end = &status["containerStatuses"][0]["state"]["terminated"];
            status["phase"] == "Failed" && end["exitCode"] == 7
        },
    )
    .await?;
    until(
        "a failing liveness probe restarts the container",
        async || {
            let status = pod_status(client, "sick").await;
            let container = &status["containerStatuses"][0];
            let message = container["lastState"]["terminated"]["message"]
                .as_str()
                .unwrap_or("");
            container["restartCount"].as_u64() >= Some(1)
                && message.contains("liveness probe failed")
        },
    )
    .await
}

async fn pod_status(client: &Client, name: &str) -> serde_json::Value {
    let pods = client
        .get("pods", Some("default"), Some(name))
        .await
        .unwrap_or_default();
    pods.into_iter().next().unwrap_or_default()["status"].take()
}

async fn published(client: &Client) -> Result<(), String> {
    let status = client.status().await.map_err(|error| error.to_string())?;
    let address = status
        .published
        .first()
        .ok_or("no port is published")?
        .address
        .clone();
    let text = tokio::task::spawn_blocking(move || {
        use std::io::Write;
        let mut stream = std::net::TcpStream::connect(&address)?;
        write!(
            stream,
            "GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n"
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text).map(|_| text)
    });
    let text = text
        .await
        .unwrap()
        .map_err(|error| format!("published port: {error}"))?;
    if text.contains("hello") {
        Ok(())
    } else {
        Err(format!("published port: {text}"))
    }
}

async fn logs(client: &Client) -> Result<(), String> {
    for (container, expected) in [("app", "listening on 8080\n"), ("prepare", "prepared\n")] {
        let mut output = std::io::Cursor::new(Vec::new());
        let query = Logs {
            namespace: "default".to_owned(),
            pod: "deployment/web".to_owned(),
            container: Some(container.to_owned()),
            follow: false,
            tail: Some(1),
            previous: false,
        };
        client
            .logs(query, &mut output)
            .await
            .map_err(|error| error.to_string())?;
        let text = String::from_utf8(output.into_inner()).unwrap();
        if text != expected {
            return Err(format!("log of {container}: {text:?}"));
        }
    }
    Ok(())
}

fn second_up_is_refused(options: &Options) -> Result<(), String> {
    match Daemon::start(options) {
        Err(DaemonError::Running { .. }) => Ok(()),
        other => Err(format!(
            "a second platform on the same directory: {other:?}"
        )),
    }
}

async fn settings_are_followed(client: &Client, options: &Options) -> Result<(), String> {
    let file = options.paths[0].join("app.yaml");
    std::fs::write(file, MANIFESTS.replace("greeting: hello", "greeting: bye")).unwrap();
    until("a mounted ConfigMap follows its file", async || {
        get(client, "http://web:80")
            .await
            .is_ok_and(|text| text.ends_with("hello bye"))
    })
    .await
}

async fn restart_loses_nothing(client: &Client) -> Result<(), String> {
    let names = async || -> Vec<String> {
        let pods = client
            .get("pods", Some("default"), None)
            .await
            .unwrap_or_default();
        let names = pods
            .iter()
            .filter_map(|pod| pod["metadata"]["name"].as_str());
        names
            .filter(|name| name.starts_with("web-"))
            .map(str::to_owned)
            .collect()
    };
    let before = names().await;
    client
        .rollout_restart("default", "web")
        .await
        .map_err(|error| error.to_string())?;
    let deadline = Instant::now() + DEADLINE;
    loop {
        get(client, "http://web:80").await?;
        let now = names().await;
        if now.len() == 2 && now.iter().all(|name| !before.contains(name)) {
            break;
        }
        if Instant::now() > deadline {
            return Err(format!("{before:?} never became others: {now:?}"));
        }
    }
    ready(client, "web", 2).await
}

fn nothing_left(state: &Path) -> Result<(), String> {
    if state.join("api.sock").exists() {
        return Err("the socket is left".to_owned());
    }
    for dir in ["pods", "objects"] {
        let files = walk(&state.join(dir));
        if !files.is_empty() {
            return Err(format!("left in {dir}: {files:?}"));
        }
    }
    Ok(())
}

fn walk(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.path() {
            path if path.is_dir() => walk(&path),
            path => vec![path.display().to_string()],
        })
        .collect()
}

//! `logs`: a container's file, from its end or its beginning, and what comes after.

use std::path::Path;
use std::time::Duration;

use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::net::UnixStream;

use super::server::Api;
use super::wire::{self, Logs, Reply};
use crate::pod::{log_path, previous_log_path};

/// How often a followed file is looked at; people read slower than this.
const FOLLOW_EVERY: Duration = Duration::from_millis(100);
/// Read and sent at once.
const PIECE_BYTES: usize = 64 << 10;

/// Answers a `logs` request.
///
/// # Errors
/// If the client went away.
pub(super) async fn send(api: &Api, stream: &mut UnixStream, query: Logs) -> std::io::Result<()> {
    let reply = match send_log(api, stream, &query).await {
        Ok(()) => Reply::Ok,
        Err(Failure::Client(error)) => return Err(error),
        Err(Failure::Log(message)) => Reply::Error { message },
    };
    wire::send(stream, &reply).await
}

enum Failure {
    Client(std::io::Error),
    Log(String),
}

async fn send_log(api: &Api, stream: &mut UnixStream, query: &Logs) -> Result<(), Failure> {
    // A pod that is gone may still have its logs.
    let found = api.pod(&query.namespace, &query.pod).await;
    let (pod, container) = match (&found, &query.container) {
        (Ok(pod), Some(container)) => {
            if !pod.has_container(container) {
                let message = format!(
                    "pod {} has no container {container}; it has {}",
                    pod.name(),
                    pod.container_names().join(", ")
                );
                return Err(Failure::Log(message));
            }
            (pod.name().to_owned(), container.clone())
        }
        (Ok(pod), None) => (pod.name().to_owned(), pod.default_container()),
        (Err(_), Some(container)) if !query.pod.contains('/') && !container.contains('/') => {
            (query.pod.clone(), container.clone())
        }
        (Err(message), _) => return Err(Failure::Log(message.clone())),
    };
    let state = &api.node.state;
    let path = if query.previous {
        previous_log_path(state, &query.namespace, &pod, &container)
    } else {
        log_path(state, &query.namespace, &pod, &container)
    };
    let mut file = match File::open(&path).await {
        Ok(file) => file,
        Err(_) if query.follow && found.is_ok() => appears(&path).await,
        Err(_) => {
            let run = if query.previous {
                " of an earlier run"
            } else {
                ""
            };
            let message = format!("container {container} of pod {pod} has no log{run}");
            return Err(Failure::Log(message));
        }
    };
    if let Some(lines) = query.tail {
        let start = start_of_last(&mut file, lines).await.unwrap_or(0);
        let seek = file.seek(std::io::SeekFrom::Start(start)).await;
        seek.map_err(|error| Failure::Log(error.to_string()))?;
    }
    loop {
        copy(&mut file, stream).await?;
        if !query.follow {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(FOLLOW_EVERY) => {}
            // The client says nothing; its end shows here.
            _ = stream.read_u8() => return Ok(()),
        }
        if let Some(next) = replaced(&mut file, &path).await {
            copy(&mut file, stream).await?;
            file = next;
        }
    }
}

async fn appears(path: &Path) -> File {
    loop {
        match File::open(path).await {
            Ok(file) => return file,
            Err(_) => tokio::time::sleep(FOLLOW_EVERY).await,
        }
    }
}

async fn copy(file: &mut File, stream: &mut UnixStream) -> Result<(), Failure> {
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let length = file
            .read(&mut buffer)
            .await
            .map_err(|error| Failure::Log(error.to_string()))?;
        if length == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        wire::send(stream, &Reply::Log { text })
            .await
            .map_err(Failure::Client)?;
    }
}

/// The file now at `path`, if the container was started again; a file that was emptied is read
/// from its beginning.
async fn replaced(file: &mut File, path: &Path) -> Option<File> {
    use std::os::unix::fs::MetadataExt;

    let mine = file.metadata().await.ok()?;
    let position = file.stream_position().await.ok()?;
    if mine.len() < position {
        file.seek(std::io::SeekFrom::Start(0)).await.ok()?;
    }
    let there = tokio::fs::metadata(path).await.ok()?;
    if there.ino() == mine.ino() {
        return None;
    }
    File::open(path).await.ok()
}

/// Where the last `lines` lines begin.
async fn start_of_last(file: &mut File, lines: u64) -> std::io::Result<u64> {
    let length = file.seek(std::io::SeekFrom::End(0)).await?;
    let mut position = length;
    let mut found = 0;
    let mut buffer = vec![0; PIECE_BYTES];
    while position > 0 {
        let piece = position.min(PIECE_BYTES as u64);
        position -= piece;
        file.seek(std::io::SeekFrom::Start(position)).await?;
        let piece = usize::try_from(piece).unwrap_or(PIECE_BYTES);
        file.read_exact(&mut buffer[..piece]).await?;
        for (index, byte) in buffer[..piece].iter().enumerate().rev() {
            let at = position + index as u64;
            // The newline at the very end ends the last line; it doesn't begin another.
            if *byte == b'\n' && at + 1 != length {
                found += 1;
                if found == lines {
                    return Ok(at + 1);
                }
            }
        }
        if lines == 0 {
            return Ok(length);
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_lines_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        std::fs::write(&path, "one\ntwo\nthree\n").unwrap();
        for (lines, start) in [(0, 14), (1, 8), (2, 4), (3, 0), (9, 0)] {
            let mut file = File::open(&path).await.unwrap();
            assert_eq!(
                start_of_last(&mut file, lines).await.unwrap(),
                start,
                "{lines}"
            );
        }
    }
}

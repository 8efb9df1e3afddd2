//! The application: one HTTP server that tells who it is, and one client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

/// Answers every request with host name, `$GREETING` and the file `/etc/app/greeting`.
pub(crate) fn serve(port: &str) -> ExitCode {
    let listener = TcpListener::bind(format!("0.0.0.0:{port}")).unwrap();
    println!("listening on {port}");
    for stream in listener.incoming() {
        std::thread::spawn(move || {
            // A probe or client that goes away is no event.
            let _ = stream.and_then(answer);
        });
    }
    ExitCode::SUCCESS
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    while let Some(line) = lines.next().transpose()? {
        if line.is_empty() {
            break;
        }
    }
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let file = std::fs::read_to_string("/etc/app/greeting").unwrap_or_default();
    let body = format!("{} {} {file}", variable("POD"), variable("GREETING"));
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

/// Prints the body of `http://HOST:PORT/`.
pub(crate) fn get(url: &str) -> ExitCode {
    match fetch(url.trim_start_matches("http://")) {
        Ok(body) => {
            print!("{body}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{url}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn fetch(authority: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(authority)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        stream,
        "GET / HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    body.ok_or_else(|| std::io::Error::other("no HTTP answer"))
}

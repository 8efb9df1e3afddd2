use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;

use super::*;

#[tokio::test]
async fn descriptors_arrive_with_their_message() {
    let (left, right) = pair().unwrap();
    let (left, right) = (Channel::new(left).unwrap(), Channel::new(right).unwrap());
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"hello").unwrap();
    left.send(b"first", &[file.as_fd()]).await.unwrap();
    left.send(b"second", &[]).await.unwrap();
    let first = right.receive().await.unwrap().unwrap();
    assert_eq!(first.bytes, b"first");
    let mut received = std::fs::File::from(first.descriptors.into_iter().next().unwrap());
    received.rewind().unwrap();
    let mut text = String::new();
    received.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    let second = right.receive().await.unwrap().unwrap();
    assert_eq!(
        (second.bytes.as_slice(), second.descriptors.len()),
        (&b"second"[..], 0)
    );
    drop(left);
    assert!(right.receive().await.unwrap().is_none());
    assert_eq!(
        right.send(b"late", &[]).await.unwrap_err().kind(),
        io::ErrorKind::BrokenPipe
    );
}

#[tokio::test]
async fn oversized_messages_are_refused() {
    let (left, _right) = pair().unwrap();
    let left = Channel::new(left).unwrap();
    let error = left
        .send(&vec![0; MAX_MESSAGE_BYTES + 1], &[])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

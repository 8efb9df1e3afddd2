use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

fn metadata() -> Struct {
    let text = |text: &str| Value {
        kind: Some(Kind::StringValue(text.to_owned())),
    };
    Struct {
        fields: [
            ("WORKLOAD_NAME".to_owned(), text("reviews-v2")),
            ("NAMESPACE".to_owned(), text("default")),
        ]
        .into(),
    }
}

/// Feeds `bytes` one by one, and reads all.
async fn read(bytes: &[u8], agreed: Agreed) -> (Vec<u8>, Option<Peer>) {
    let (mut near, far) = tokio::io::duplex(1);
    let mut stream = Exchanged::new(far, agreed, Wanted::Peer);
    let write = async {
        near.write_all(bytes).await.unwrap();
        drop(near);
    };
    let mut all = Vec::new();
    let (_, read) = futures::future::join(write, stream.read_to_end(&mut all)).await;
    read.unwrap();
    (all, stream.take_peer())
}

#[tokio::test]
async fn an_idle_connection_keeps_neither_frame_nor_unwanted_peer() {
    let (mut near, far) = tokio::io::duplex(4096);
    let mut stream = Exchanged::new(far, Agreed::Yes, Wanted::Bytes);
    near.write_all(&frame(&metadata(), "sidecar~a~b~c"))
        .await
        .unwrap();
    std::future::poll_fn(|cx| stream.poll_frame(cx))
        .await
        .unwrap();
    assert!(stream.head.is_none() && stream.take_peer().is_none());
    assert_eq!(stream.replay.as_ptr(), Bytes::new().as_ptr());
}

#[tokio::test]
async fn takes_the_frame_and_leaves_the_rest() {
    let mut bytes = frame(&metadata(), "sidecar~a~b~c").to_vec();
    bytes.extend_from_slice(b"hello");
    let (rest, peer) = read(&bytes, Agreed::Yes).await;
    assert_eq!(rest, b"hello");
    let peer = peer.unwrap();
    assert_eq!(
        (&*peer.workload, &*peer.namespace),
        ("reviews-v2", "default")
    );
}

#[tokio::test]
async fn what_is_no_frame_is_the_applications() {
    let long = [
        MAGIC.to_be_bytes().as_slice(),
        &u32::MAX.to_be_bytes(),
        b"xx",
    ]
    .concat();
    let cut = frame(&metadata(), "a")[..20].to_vec();
    for bytes in [b"hi".to_vec(), b"=#".to_vec(), Vec::new(), long, cut] {
        let (rest, peer) = read(&bytes, Agreed::Yes).await;
        assert_eq!((rest, peer), (bytes, None));
    }
    let whole = frame(&metadata(), "a").to_vec();
    assert_eq!(read(&whole, Agreed::No).await, (whole, None));
}

#[tokio::test]
async fn a_damaged_body_tells_nothing() {
    let damaged = [
        MAGIC.to_be_bytes().as_slice(),
        &3u32.to_be_bytes(),
        &[0xff; 3],
        b"after",
    ]
    .concat();
    assert_eq!(read(&damaged, Agreed::Yes).await, (b"after".to_vec(), None));
}

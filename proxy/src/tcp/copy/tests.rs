use super::*;
use std::cell::Cell;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

impl Bare for DuplexStream {}

#[derive(Default)]
struct Counts {
    forward: Cell<u64>,
    backward: Cell<u64>,
}

impl Observer for Counts {
    fn forward(&self, bytes: u64) {
        self.forward.set(self.forward.get() + bytes);
    }
    fn backward(&self, bytes: u64) {
        self.backward.set(self.backward.get() + bytes);
    }
}

#[tokio::test]
async fn passes_half_close_on_and_still_carries_the_answer() {
    let (mut client, mut a) = duplex(16);
    let (mut b, mut server) = duplex(16);
    let counts = Counts::default();
    let peers = async {
        client
            .write_all(b"a question longer than the pipe")
            .await
            .unwrap();
        client.shutdown().await.unwrap();
        let mut question = String::new();
        server.read_to_string(&mut question).await.unwrap();
        assert_eq!(question, "a question longer than the pipe");
        let answer = tokio::join!(
            async {
                server
                    .write_all(b"and an answer after the half close")
                    .await
                    .unwrap();
                server.shutdown().await.unwrap();
            },
            async {
                let mut answer = String::new();
                client.read_to_string(&mut answer).await.unwrap();
                answer
            }
        );
        assert_eq!(answer.1, "and an answer after the half close");
    };
    let (end, ()) = tokio::join!(both_ways(&mut a, &mut b, None, &counts), peers);
    assert_eq!(end.unwrap(), End::Closed);
    assert_eq!((counts.forward.get(), counts.backward.get()), (31, 34));
}

#[tokio::test]
async fn moves_bulk_data_unchanged() {
    let (mut client, mut a) = duplex(4096);
    let (mut b, mut server) = duplex(1000);
    let data: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
    let expected = data.clone();
    let send = async move {
        client.write_all(&data).await.unwrap();
        client.shutdown().await.unwrap();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
    };
    let receive = async move {
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.unwrap();
        assert!(got == expected);
    };
    let counts = Counts::default();
    let (end, (), ()) = tokio::join!(both_ways(&mut a, &mut b, None, &counts), send, receive);
    assert_eq!(end.unwrap(), End::Closed);
}

#[tokio::test(start_paused = true)]
async fn ends_when_idle_but_not_while_bytes_move() {
    let (mut client, mut a) = duplex(64);
    let (mut b, mut server) = duplex(64);
    let started = Instant::now();
    let counts = Counts::default();
    let talk = async {
        for _ in 0..3 {
            tokio::time::advance(Duration::from_secs(8)).await;
            client.write_all(b"x").await.unwrap();
            let mut byte = [0];
            server.read_exact(&mut byte).await.unwrap();
        }
    };
    let idle = Some(Duration::from_secs(10));
    let (end, ()) = tokio::join!(both_ways(&mut a, &mut b, idle, &counts), talk);
    assert_eq!(end.unwrap(), End::Idle);
    assert!(started.elapsed() >= Duration::from_secs(34));
}

#[tokio::test]
async fn a_vanished_peer_is_a_normal_end() {
    let (client, mut a) = duplex(64);
    let (mut b, server) = duplex(64);
    drop((client, server));
    let end = both_ways(&mut a, &mut b, None, &Counts::default()).await;
    assert_eq!(end.unwrap(), End::Closed);
}

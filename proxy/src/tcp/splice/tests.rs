//! Over sockets of the loopback. Each test's thread has a pool of its own.

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::tcp::copy::{End, Observer, both_ways};

const BULK: usize = 5_000_003;
const PATTERN: usize = 1 << 16;

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

/// A client, the two sockets to copy between, and a server.
async fn chain() -> [TcpStream; 4] {
    let (client, a) = connection().await;
    let (b, server) = connection().await;
    [client, a, b, server]
}

async fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap());
    let (near, far) = tokio::join!(near, listener.accept());
    (near.unwrap(), far.unwrap().0)
}

fn random(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(next).collect()
}

async fn send(stream: &mut (impl AsyncWriteExt + Unpin), data: &[u8]) {
    stream.write_all(data).await.unwrap();
    stream.shutdown().await.unwrap();
}

async fn receive(stream: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut got = Vec::new();
    stream.read_to_end(&mut got).await.unwrap();
    got
}

/// Lent and spare pipes of this thread.
fn pipes() -> (usize, usize) {
    POOL.with(|pool| {
        let spare = pool.spare.borrow();
        assert!(spare.iter().all(|pipe| pipe.held() == 0));
        (pool.lent.get(), spare.len())
    })
}

/// Bulk both ways at once; checks bytes and counters.
async fn exchange_bulk() {
    let [client, mut a, mut b, server] = chain().await;
    let (there, back) = (random(BULK, 1), random(BULK + 7, 2));
    let counts = Counts::default();
    let (mut client_in, mut client_out) = client.into_split();
    let (mut server_in, mut server_out) = server.into_split();
    let (end, (), (), at_server, at_client) = tokio::join!(
        both_ways(&mut a, &mut b, None, &counts),
        send(&mut client_out, &there),
        send(&mut server_out, &back),
        receive(&mut server_in),
        receive(&mut client_in),
    );
    assert_eq!(end.unwrap(), End::Closed);
    assert!(at_server == there && at_client == back);
    assert_eq!(counts.forward.get(), there.len() as u64);
    assert_eq!(counts.backward.get(), back.len() as u64);
}

#[tokio::test]
async fn carries_bulk_both_ways_through_pipes_and_gives_them_back() {
    exchange_bulk().await;
    let (lent, spare) = pipes();
    assert_eq!(lent, 0);
    assert!((1..=2).contains(&spare), "one for each direction at most");
}

#[tokio::test]
async fn copies_where_no_pipe_is_to_be_had() {
    POOL.with(|pool| pool.lent.set(LIMIT));
    exchange_bulk().await;
    assert_eq!(pipes(), (LIMIT, 0));
    POOL.with(|pool| {
        pool.lent.set(0);
        pool.refused.set(Some(Instant::now()));
    });
    exchange_bulk().await;
    // A second may have passed meanwhile.
    assert_eq!(pipes().0, 0);
}

#[tokio::test]
async fn small_messages_touch_no_pipe() {
    let [mut client, mut a, mut b, mut server] = chain().await;
    let counts = Counts::default();
    let talk = async {
        for _ in 0..100 {
            client.write_all(&[1; 100]).await.unwrap();
            server.read_exact(&mut [0; 100]).await.unwrap();
            server.write_all(&[2; 4000]).await.unwrap();
            client.read_exact(&mut [0; 4000]).await.unwrap();
        }
        drop((client, server));
    };
    let (end, ()) = tokio::join!(both_ways(&mut a, &mut b, None, &counts), talk);
    assert_eq!(end.unwrap(), End::Closed);
    assert_eq!(pipes(), (0, 0));
}

#[tokio::test]
async fn passes_half_close_on_after_bulk() {
    let [mut client, mut a, mut b, mut server] = chain().await;
    let (question, answer) = (random(BULK, 3), random(BULK, 4));
    let counts = Counts::default();
    let serve = async {
        let got = receive(&mut server).await;
        send(&mut server, &answer).await;
        got
    };
    let ask = async {
        send(&mut client, &question).await;
        receive(&mut client).await
    };
    let copying = both_ways(&mut a, &mut b, None, &counts);
    let (end, asked, answered) = tokio::join!(copying, serve, ask);
    assert_eq!(end.unwrap(), End::Closed);
    assert!(asked == question && answered == answer);
}

/// Sends a pattern again and again until nothing moves any more: sockets and pipe are full.
async fn fill_up(client: &mut TcpStream, counts: &Counts) -> u64 {
    let pattern = random(PATTERN, 5);
    let mut sent = 0;
    let quiet = Duration::from_millis(200);
    while let Ok(Ok(more)) =
        tokio::time::timeout(quiet, client.write(&pattern[sent % PATTERN..])).await
    {
        sent += more;
    }
    assert!(counts.forward.get() < sent as u64);
    sent as u64
}

#[tokio::test]
async fn a_slow_reader_gets_everything_and_is_counted_as_it_takes() {
    let [mut client, mut a, mut b, mut server] = chain().await;
    let counts = Counts::default();
    let talk = async {
        let sent = fill_up(&mut client, &counts).await;
        client.shutdown().await.unwrap();
        let got = receive(&mut server).await;
        assert_eq!(got.len() as u64, sent);
        let pattern = random(PATTERN, 5);
        assert!(got.chunks(PATTERN).all(|chunk| pattern.starts_with(chunk)));
        server.shutdown().await.unwrap();
        sent
    };
    let (end, sent) = tokio::join!(both_ways(&mut a, &mut b, None, &counts), talk);
    assert_eq!(end.unwrap(), End::Closed);
    assert_eq!(counts.forward.get(), sent);
    assert_eq!(pipes().0, 0);
}

#[tokio::test]
async fn a_reset_in_the_middle_is_a_normal_end_and_its_pipe_is_not_used_again() {
    let [mut client, mut a, mut b, server] = chain().await;
    let counts = Counts::default();
    let talk = async {
        fill_up(&mut client, &counts).await;
        mesh_sys::socket::reset_on_close(&server).unwrap();
        drop(server);
    };
    let (end, ()) = tokio::join!(both_ways(&mut a, &mut b, None, &counts), talk);
    assert_eq!(end.unwrap(), End::Closed);
    assert_eq!(pipes().0, 0);
}

#[tokio::test]
async fn what_is_cancelled_with_bytes_in_its_pipe_leaves_none_to_others() {
    let [mut client, mut a, mut b, _server] = chain().await;
    let counts = Counts::default();
    tokio::select! {
        end = both_ways(&mut a, &mut b, None, &counts) => panic!("{end:?}"),
        _sent = fill_up(&mut client, &counts) => {}
    }
    assert_eq!(pipes().0, 0);
}

#[tokio::test]
async fn is_idle_while_a_pipe_waits_for_the_reader() {
    let [mut client, mut a, mut b, _server] = chain().await;
    let idle = Some(Duration::from_millis(500));
    let counts = Counts::default();
    let copying = both_ways(&mut a, &mut b, idle, &counts);
    let (end, _sent) = tokio::join!(copying, fill_up(&mut client, &counts));
    assert_eq!(end.unwrap(), End::Idle);
}

#[tokio::test]
async fn goes_on_behind_a_byte_of_urgent_data() {
    let [mut client, mut a, mut b, mut server] = chain().await;
    let data = random(BULK, 6);
    let counts = Counts::default();
    let ask = async {
        client.write_all(&data).await.unwrap();
        client.writable().await.unwrap();
        while let Err(error) = SockRef::from(&client).send_out_of_band(b"!") {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            tokio::task::yield_now().await;
        }
        send(&mut client, &data).await;
    };
    let serve = async {
        let got = receive(&mut server).await;
        server.shutdown().await.unwrap();
        got
    };
    let copying = both_ways(&mut a, &mut b, None, &counts);
    let (end, (), got) = tokio::join!(copying, ask, serve);
    assert_eq!(end.unwrap(), End::Closed);
    assert!(got == [data.as_slice(), &data].concat());
}

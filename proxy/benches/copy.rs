//! A mebibyte through the copy loop, over sockets of the loopback. One thread does everything: what
//! is measured includes both ends, which are the same for all but for TLS.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use mesh_proxy::tcp::copy::{Observer, both_ways};
use mesh_proxy::tcp::splice::Bare;
use mesh_proxy::tls::ClientStream;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::{TlsAcceptor, TlsConnector, server};

const BYTES: usize = 1 << 20;

struct Uncounted;

impl Observer for Uncounted {
    fn forward(&self, _bytes: u64) {}
    fn backward(&self, _bytes: u64) {}
}

/// A socket that does not say it is one: its bytes are copied.
struct Hidden(TcpStream);

impl Bare for Hidden {}

impl AsyncRead for Hidden {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Hidden {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

async fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap());
    let (near, far) = tokio::join!(near, listener.accept());
    (near.unwrap(), far.unwrap().0)
}

/// The connector's side and the acceptor's.
async fn tls() -> (ClientStream, server::TlsStream<TcpStream>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let key = made.signing_key.serialize_der().try_into().unwrap();
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let (near, far) = connection().await;
    let name = "localhost".try_into().unwrap();
    let (near, far) = tokio::join!(
        TlsConnector::from(Arc::new(client)).connect(name, near),
        TlsAcceptor::from(Arc::new(server)).accept(far),
    );
    (ClientStream::Tls(Box::new(near.unwrap())), far.unwrap())
}

/// Sends from one end to the other while the sides between them are copied.
async fn transfer<A, B>(
    sides: (&mut A, &mut B),
    from: &mut (impl AsyncWrite + Unpin),
    to: &mut (impl AsyncRead + Unpin),
    buffer: &mut [u8],
) where
    A: AsyncRead + AsyncWrite + Bare + Unpin,
    B: AsyncRead + AsyncWrite + Bare + Unpin,
{
    let data = vec![7; BYTES];
    let send = async {
        from.write_all(&data).await.unwrap();
        from.flush().await.unwrap();
    };
    let through = async { tokio::join!(send, to.read_exact(buffer)) };
    tokio::select! {
        end = both_ways(sides.0, sides.1, None, &Uncounted) => panic!("{end:?}"),
        ((), read) = through => assert_eq!(read.unwrap(), BYTES),
    }
}

/// One line of the report.
fn measure<A, B>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    runtime: &Runtime,
    name: &str,
    sides: (&mut A, &mut B),
    from: &mut (impl AsyncWrite + Unpin),
    to: &mut (impl AsyncRead + Unpin),
) where
    A: AsyncRead + AsyncWrite + Bare + Unpin,
    B: AsyncRead + AsyncWrite + Bare + Unpin,
{
    let mut buffer = vec![0; BYTES];
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            let sides = (&mut *sides.0, &mut *sides.1);
            runtime.block_on(transfer(sides, from, to, &mut buffer));
        });
    });
}

fn copies(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let mut group = criterion.benchmark_group("copy/1 MiB");
    let group = &mut group;
    group.throughput(Throughput::Bytes(BYTES as u64));

    let (mut client, mut a) = runtime.block_on(connection());
    let (mut b, mut server) = runtime.block_on(connection());
    let sides = (&mut a, &mut b);
    measure(group, &runtime, "spliced", sides, &mut client, &mut server);
    let (mut a, mut b) = (Hidden(a), Hidden(b));
    let sides = (&mut a, &mut b);
    measure(group, &runtime, "copied", sides, &mut client, &mut server);
    let (mut b, mut server) = runtime.block_on(tls());
    let sides = (&mut a, &mut b);
    measure(
        group,
        &runtime,
        "encrypted",
        sides,
        &mut client,
        &mut server,
    );
    let sides = (&mut a, &mut b);
    measure(
        group,
        &runtime,
        "decrypted",
        sides,
        &mut server,
        &mut client,
    );
}

criterion_group!(benches, copies);
criterion_main!(benches);

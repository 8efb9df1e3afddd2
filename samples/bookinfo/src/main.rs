//! Bookinfo: the sample application of the mesh, four plain-HTTP services in one binary.
//!
//! `productpage` renders the page out of `details` and `reviews`; `reviews` (three versions)
//! asks `ratings`. None of them knows of the mesh: identity, encryption, routing and
//! telemetry are the sidecar's. What they do for it is pass the trace headers on.

mod details;
mod forward;
mod http;
mod page;
mod productpage;
mod ratings;
mod reviews;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use clap::{Parser, Subcommand};

/// The Bookinfo sample services.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Port to listen on.
    #[arg(long, global = true, env = "BOOKINFO_PORT", default_value_t = 9080)]
    port: u16,
    /// Address to listen on.
    #[arg(long, global = true, default_value_t = IpAddr::V6(Ipv6Addr::UNSPECIFIED))]
    address: IpAddr,
    #[command(subcommand)]
    service: Service,
}

#[derive(Subcommand)]
enum Service {
    /// The page, the login and the JSON API.
    Productpage(productpage::Options),
    /// Facts about the book.
    Details,
    /// Reviews of the book; asks ratings for stars unless told not to.
    Reviews(reviews::Options),
    /// Stars by reviewer.
    Ratings,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let listen = SocketAddr::new(cli.address, cli.port);
    match cli.service {
        Service::Productpage(options) => productpage::serve(listen, options).await,
        Service::Details => details::serve(listen).await,
        Service::Reviews(options) => reviews::serve(listen, options).await,
        Service::Ratings => ratings::serve(listen).await,
    }
}

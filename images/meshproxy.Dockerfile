# The sidecar and gateway: one static program, nothing else. Build from the root of the checkout:
#   docker build -f images/meshproxy.Dockerfile -t localhost/mesh/meshproxy:0.1.0 .
# Without Docker, `cargo xtask images` makes the same image.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    target="$(uname -m)-unknown-linux-gnu" \
    && RUSTFLAGS="-C target-feature=+crt-static" \
       cargo build --release --locked --target "$target" --package mesh-proxy \
    && strip --strip-debug -o /meshproxy "target/$target/release/meshproxy"

FROM scratch
COPY --from=build /meshproxy /meshproxy
ENV PATH=/
USER 1337:1337
ENTRYPOINT ["/meshproxy"]

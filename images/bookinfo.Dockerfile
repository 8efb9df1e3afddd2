# The four services of Bookinfo: one static program, nothing else. Build from the root of the checkout:
#   docker build -f images/bookinfo.Dockerfile -t localhost/mesh/bookinfo:0.1.0 .
# The sample's six images are this one with an argument and an environment each (see
# samples/bookinfo/images.yaml); `cargo xtask images` makes them, without Docker.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    target="$(uname -m)-unknown-linux-gnu" \
    && RUSTFLAGS="-C target-feature=+crt-static" \
       cargo build --release --locked --target "$target" --package bookinfo \
    && strip --strip-debug -o /bookinfo "target/$target/release/bookinfo"

FROM scratch
COPY --from=build /bookinfo /bookinfo
ENV PATH=/
# Never as 1337: the traffic of that user is the proxy's, and is not captured.
USER 65532:65532
ENTRYPOINT ["/bookinfo"]

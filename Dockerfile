# lockbroker in an image that holds one static binary and its licences.
#
#   docker build -t lockbroker .
#   docker buildx build --platform linux/amd64,linux/arm64 -t registry.example/lockbroker --push .
#   docker run -p 28551:28551 --stop-timeout 30 lockbroker serve --store memcached://10.0.0.5:11211
#
# It runs as a numeric user, on a read-only root, without capabilities. `docker stop` sends SIGTERM, on which
# the broker drains for up to 25 s (--drain); Docker kills after 10 s unless --stop-timeout says otherwise.

# A mirror of your own: --build-arg RUST=registry.example/rust:1.95.0-bookworm
ARG RUST=docker.io/library/rust:1.95.0-bookworm

FROM ${RUST} AS dependencies
WORKDIR /build
# The C library goes into the binary; resolving names needs nothing beside it.
ENV RUSTFLAGS="-C target-feature=+crt-static"
COPY Cargo.toml Cargo.lock ./
# cargo wants to see the whole workspace.
COPY benches/compare/Cargo.toml benches/compare/
COPY clients/rust/Cargo.toml clients/rust/
COPY core/Cargo.toml core/
COPY fuzz/Cargo.toml fuzz/
COPY sim/Cargo.toml sim/
# They take most of the time and change least, so they are a layer of their own, built for empty crates.
# --target keeps RUSTFLAGS away from procedural macros, which cannot be static.
ARG PROFILE=release
# Traces for a collector (docs/monitoring.md). Empty: without.
ARG FEATURES=otlp
RUN mkdir src benches/compare/src clients/rust/src core/src sim/src \
    && touch src/lib.rs benches/compare/src/main.rs clients/rust/src/lib.rs core/src/lib.rs sim/src/lib.rs \
    && echo 'fn main() {}' >src/main.rs \
    && cargo build --package lockbroker --bin lockbroker --profile "${PROFILE}" --features "${FEATURES}" --locked --target "$(rustc --print host-tuple)"

FROM dependencies AS build
# Not every builder lets a stage have what the one before has declared.
ARG PROFILE=release
ARG FEATURES=otlp
COPY clients clients
COPY core core
COPY src src
# cargo goes by times, and the empty crates are younger than the sources.
RUN touch src/lib.rs src/main.rs clients/rust/src/lib.rs core/src/lib.rs \
    && cargo build --package lockbroker --bin lockbroker --profile "${PROFILE}" --features "${FEATURES}" --locked --target "$(rustc --print host-tuple)" \
    && cp "target/$(rustc --print host-tuple)/${PROFILE}/lockbroker" /lockbroker

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="lockbroker" \
      org.opencontainers.image.description="Distributed locks over gRPC, kept in memcached and tied to the client's stream" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY LICENSE-MIT LICENSE-APACHE /licenses/
COPY --from=build --chmod=0555 /lockbroker /lockbroker
USER 65532:65532
# All addresses, so that -p works; hence the broker asks for --store.
ENV LOCKBROKER_LISTEN=*:28551 \
    LOCKBROKER_ADMIN_LISTEN=*:28552
# Calls; health and metrics; wake-ups between brokers.
EXPOSE 28551 28552 28553/udp
# Healthy while at least one shard is open. The admin port, since it is without TLS.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["/lockbroker", "health", "--server", "http://127.0.0.1:28552"]
ENTRYPOINT ["/lockbroker"]
CMD ["serve"]

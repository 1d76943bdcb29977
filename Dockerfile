# syntax=docker/dockerfile:1
# Two stages: the first has a Rust toolchain and a C compiler, the second the binary, glibc and root certificates, no shell.
# The binary links librdkafka, TLS and zstd statically; glibc has to be at least that of the first stage.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin tidewatch \
    && cp target/release/tidewatch /usr/local/bin/tidewatch

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /usr/local/bin/tidewatch /usr/local/bin/tidewatch
# Inside of a container loopback reaches nobody; which networks reach the container is decided outside.
ENV TIDEWATCH__HTTP__LISTEN=0.0.0.0:9464
EXPOSE 9464
# It writes where the configuration says and nowhere else: the root file system may be read-only.
USER nonroot
WORKDIR /etc/tidewatch
STOPSIGNAL SIGTERM
# The image holds no other HTTP client. A start that restores a large state is alive, and says so from its first moment on.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["tidewatch", "health"]
ENTRYPOINT ["tidewatch"]
CMD ["run", "tidewatch.toml"]

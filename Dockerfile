# Builds the gateway and puts it alone into a small image.
FROM rust:1-slim-bookworm AS build
# The image has the C compiler that aws-lc and SQLite need.
WORKDIR /src
# The revision in `--version` and `build_info`: --build-arg GIT_SHA=$(git rev-parse --short=12 HEAD)
ARG GIT_SHA
COPY Cargo.toml Cargo.lock build.rs ./
COPY benches benches
COPY crates crates
COPY src src
COPY tests/support tests/support
RUN cargo build --release --locked --bin nova-image-proxy

FROM debian:bookworm-slim
# The trust store that TLS connections to Keystone and Glance are checked against.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --no-create-home gateway
COPY --from=build /src/target/release/nova-image-proxy /usr/local/bin/
USER gateway
EXPOSE 8774
# Needs at least NOVA_IMAGE_PROXY__SERVER__LISTEN=0.0.0.0:8774 and NOVA_IMAGE_PROXY__KEYSTONE__AUTH_URL, or a
# mounted settings file that NOVA_IMAGE_PROXY_CONFIG names; see docs/operations.md.
ENTRYPOINT ["nova-image-proxy"]
CMD ["serve"]

# The toolchain of rust-toolchain.toml, without the components that only checks need.
FROM rust:1.95.0-slim-trixie AS build
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --package omnistream-api && cp target/release/omnistream /omnistream

FROM debian:trixie-slim
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates curl && rm -rf /var/lib/apt/lists/* \
    && useradd --system --home-dir /var/lib/omnistream --create-home omnistream
COPY --from=build /omnistream /usr/local/bin/omnistream
USER omnistream
WORKDIR /var/lib/omnistream
VOLUME /var/lib/omnistream
EXPOSE 8080
ENTRYPOINT ["omnistream"]
CMD ["serve"]

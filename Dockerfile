# docker build -t imapwarden .
#
# The program in Debian's smallest image: not root, nothing to write but its data directory. The chart's containers use the
# image's sh, cksum, sleep and chown.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src ./src
# The rules that come with the program are part of it.
COPY policies ./policies
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin imapwarden \
    && install -D --strip target/release/imapwarden /out/imapwarden

FROM debian:bookworm-slim
# A number that no other image's user is likely to have; Kubernetes can tell from a number that it is not root.
RUN groupadd --gid 65532 imapwarden \
    && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /var/lib/imapwarden --shell /usr/sbin/nologin imapwarden \
    && install --directory --owner=65532 --group=65532 --mode=0700 /var/lib/imapwarden \
    && install --directory --mode=0755 /etc/imapwarden
COPY --from=build /out/imapwarden /usr/local/bin/imapwarden
USER 65532:65532
VOLUME /var/lib/imapwarden
# The configuration is /etc/imapwarden/imapwarden.yaml, and is not part of the image.
EXPOSE 993
ENTRYPOINT ["imapwarden"]
CMD ["serve"]

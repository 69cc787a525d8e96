# A node in an image of its own, for linux. There is nothing in it but the static binary, the authorities of
# certificates that webhooks and feeds are checked by, and the licence: no shell, no package, no key.
#
#   make image                            # around a binary built on this machine; needs no registry
#   docker build --target source .        # from source, in the image of the Go toolchain; needs a registry and BuildKit
#
#   docker run --rm -v chancery:/home/chancery chancery init
#   docker run -d -v chancery:/home/chancery --read-only --cap-drop ALL --security-opt no-new-privileges chancery
#
# The node's home is in the volume. Keys, genesis and configuration are put there, never into the image. The root
# file system may be read-only.

# ---- what both images are ----
FROM scratch AS base

# The copy creates the home with the owner that the node runs as, since an image from scratch has no mkdir.
COPY --chown=65532:65532 LICENSE /home/chancery/LICENSE

USER 65532:65532
ENV HOME=/home/chancery CHANCERY_HOME=/home/chancery/node
WORKDIR /home/chancery
VOLUME /home/chancery

# 26656 is the consensus network, 9090 the API. Both listen on loopback until the configuration says otherwise.
EXPOSE 26656 9090

# A node that waits for others to come back is well: a restart would not mend that.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["/usr/bin/chancery", "health", "--live"]

ENTRYPOINT ["/usr/bin/chancery"]
CMD ["start"]

# ---- around a binary of this machine: scripts/image.sh lays root/ out ----
FROM base AS host
COPY root/ /
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="chancery" \
      org.opencontainers.image.description="A node of Chancery, the records office of a consortium" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"

# ---- from source, where there is a registry ----
FROM golang:1.26.8 AS build
WORKDIR /src
COPY go.mod go.sum ./
COPY consensus/unused consensus/unused
RUN go mod download
COPY . .
ARG VERSION=unknown
ARG REVISION=unknown
RUN VERSION="$VERSION" REVISION="$REVISION" scripts/build.sh /out/chancery

FROM base AS source
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/chancery /usr/bin/chancery
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="chancery" \
      org.opencontainers.image.description="A node of Chancery, the records office of a consortium" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"

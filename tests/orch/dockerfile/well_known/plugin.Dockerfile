# syntax=docker/dockerfile:1.3

# In the manner of a command line plugin: cross builds, mounts on the working directory, files handed on by binds.
ARG GO_VERSION=1.22.0
ARG ENGINE_VERSION=26.1

FROM engine:$ENGINE_VERSION AS engine-release
FROM --platform=$BUILDPLATFORM example/xx@sha256:21a61be4744f6531cb5f33b0e6f40ede41fa3a1b8c82d5946178f80cc84bfc04 AS xx
FROM --platform=$BUILDPLATFORM golang:${GO_VERSION}-alpine AS golatest

FROM golatest AS gobase
COPY --from=xx / /
RUN apk add --no-cache file git
ENV GOFLAGS=-mod=vendor
WORKDIR /src

FROM gobase AS version
RUN --mount=target=. \
  PKG=github.com/example/plugin VERSION=$(git describe --match 'v[0-9]*' --dirty='.m' --always --tags) REVISION=$(git rev-parse HEAD)$(if ! git diff --no-ext-diff --quiet --exit-code; then echo .m; fi); \
  echo "-X ${PKG}/version.Version=${VERSION} -X ${PKG}/version.Revision=${REVISION}" | tee /tmp/.ldflags; \
  echo -n "${VERSION}" | tee /tmp/.version;

FROM gobase AS build
ENV CGO_ENABLED=0
ARG TARGETPLATFORM
RUN --mount=type=bind,target=. \
  --mount=type=cache,target=/root/.cache \
  --mount=type=cache,target=/go/pkg/mod \
  --mount=type=bind,source=/tmp/.ldflags,target=/tmp/.ldflags,from=version \
  set -x; xx-go build -ldflags "$(cat /tmp/.ldflags)" -o /usr/bin/plugin ./cmd/plugin && \
  xx-verify --static /usr/bin/plugin

FROM scratch AS binaries-unix
COPY --link --from=build /usr/bin/plugin /
FROM binaries-unix AS binaries-darwin
FROM binaries-unix AS binaries-linux
FROM scratch AS binaries-windows
COPY --from=build /usr/bin/plugin /plugin.exe
FROM binaries-$TARGETOS AS binaries

FROM --platform=$BUILDPLATFORM alpine AS releaser
WORKDIR /work
ARG TARGETPLATFORM
RUN --mount=from=binaries \
  --mount=type=bind,source=/tmp/.version,target=/tmp/.version,from=version \
  mkdir -p /out && cp plugin* "/out/plugin-$(cat /tmp/.version).$(echo $TARGETPLATFORM | sed 's/\//-/g')$(ls plugin* | sed -e 's/^plugin//')"

FROM scratch AS release
COPY --from=releaser /out/ /

FROM engine:$ENGINE_VERSION AS engine-release
FROM alpine AS shell
COPY --from=engine-release /usr/local/bin /usr/local/bin
COPY --from=binaries / /usr/local/bin/
VOLUME /var/lib/engine
ENTRYPOINT ["entrypoint.sh"]

FROM binaries

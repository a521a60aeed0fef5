# syntax=docker/dockerfile:1

# In the manner of a container engine's own Dockerfile: many stages chosen by arguments, most of them not needed.
ARG CROSS="false"
ARG SYSTEMD="false"
ARG GO_VERSION=1.23.3
ARG DEBIAN_FRONTEND=noninteractive
ARG BASE_DEBIAN_DISTRO="bookworm"
ARG GOLANG_IMAGE="golang:${GO_VERSION}-${BASE_DEBIAN_DISTRO}"

FROM ${GOLANG_IMAGE} AS base
RUN echo 'Binary::apt::APT::Keep-Downloaded-Packages "true";' > /etc/apt/apt.conf.d/keep-cache
ARG APT_MIRROR
RUN sed -ri "s/(httpredir|deb).debian.org/${APT_MIRROR:-deb.debian.org}/g" /etc/apt/sources.list \
 && sed -ri "s/(security).debian.org/${APT_MIRROR:-security.debian.org}/g" /etc/apt/sources.list
ENV GO111MODULE=off

FROM base AS criu
ARG DEBIAN_FRONTEND
ADD --chmod=0644 https://download.example.org/criu/Release.key /etc/apt/trusted.gpg.d/criu.gpg.asc
RUN --mount=type=cache,sharing=locked,id=engine-criu-aptlib,target=/var/lib/apt \
    --mount=type=cache,sharing=locked,id=engine-criu-aptcache,target=/var/cache/apt \
        apt-get update \
        && apt-get install -y --no-install-recommends criu \
        && install -D /usr/sbin/criu /build/criu

FROM base AS swagger
WORKDIR $GOPATH/src/github.com/go-swagger/go-swagger
ENV GO_SWAGGER_COMMIT c56166c036004ba7a3a321e5951ba472b9ae298c
RUN --mount=type=cache,target=/root/.cache/go-build \
    --mount=type=cache,target=/go/pkg/mod \
    --mount=type=tmpfs,target=/go/src/ \
        set -x \
        && git clone https://github.com/example/go-swagger.git . \
        && git checkout -q "$GO_SWAGGER_COMMIT" \
        && go build -o /build/swagger github.com/go-swagger/go-swagger/cmd/swagger

FROM base AS cross-false
FROM --platform=linux/amd64 base AS cross-true
RUN dpkg --add-architecture arm64

FROM cross-${CROSS} AS dev-base

FROM base AS delve
ARG DELVE_VERSION=v1.8.1
RUN --mount=type=cache,target=/root/.cache/go-build \
        case $(dpkg --print-architecture) in \
            amd64|arm64) \
                GOBIN=/build/ GO111MODULE=on go install "github.com/go-delve/delve/cmd/dlv@${DELVE_VERSION}" \
                ;; \
            *) \
                mkdir -p /build/ \
                ;; \
        esac

FROM --platform=amd64 example/vpnkit:0.5.0 AS vpnkit-amd64
FROM --platform=arm64 example/vpnkit:0.5.0 AS vpnkit-arm64
FROM scratch AS vpnkit
COPY --from=vpnkit-amd64 /vpnkit /build/vpnkit.x86_64
COPY --from=vpnkit-arm64 /vpnkit /build/vpnkit.aarch64

FROM dev-base AS dev-systemd-false
ARG DEBIAN_FRONTEND
RUN groupadd -r engine
RUN useradd --create-home --gid engine unprivilegeduser \
 && mkdir -p /home/unprivilegeduser/.local/share/engine \
 && chown -R unprivilegeduser /home/unprivilegeduser
COPY --from=swagger       /build/ /usr/local/bin/
COPY --from=delve         /build/ /usr/local/bin/
ENV PATH=/usr/local/cli:$PATH
WORKDIR /go/src/github.com/example/engine
VOLUME /var/lib/engine
VOLUME /home/unprivilegeduser/.local/share/engine
ENTRYPOINT ["hack/dind"]

FROM dev-systemd-false AS dev-systemd-true
RUN --mount=type=cache,sharing=locked,id=engine-dev-aptlib,target=/var/lib/apt \
        apt-get update && apt-get install -y --no-install-recommends dbus systemd
ENTRYPOINT ["hack/dind-systemd"]

FROM dev-systemd-${SYSTEMD} AS dev

FROM scratch AS binary
COPY --from=criu /build/ /

FROM dev AS final
COPY . /go/src/github.com/example/engine

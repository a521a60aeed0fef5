# syntax=docker/dockerfile:1.12
# check=error=true

# In the manner of a large Rails application: another shell, linked copies, here-documents, secrets and keys.
ARG NODE_VERSION="20.6-bookworm-slim"
ARG RUBY_VERSION="3.2.2-slim"

FROM ghcr.io/example/ruby-jemalloc:${RUBY_VERSION} as ruby
FROM node:${NODE_VERSION} as build

COPY --link --from=ruby /opt/ruby /opt/ruby

ENV DEBIAN_FRONTEND="noninteractive" \
    PATH="${PATH}:/opt/ruby/bin"

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

WORKDIR /opt/app
COPY Gemfile* package.json yarn.lock /opt/app/

# hadolint ignore=DL3008
RUN --mount=type=secret,id=bundle_config,target=/root/.bundle/config \
    --mount=type=secret,id=token,env=PACKAGES_TOKEN \
    --mount=type=ssh \
    bundle config set --local deployment 'true' && \
    bundle install -j"$(nproc)" && \
    yarn install --pure-lockfile --production --network-timeout 600000 && \
    yarn cache clean

RUN <<EOT bash
  set -e
  for each in a b; do echo "$each" >> "/opt/app/list"; done
EOT

COPY <<-'EOT' /opt/app/bin/start
	#!/bin/sh
	exec bundle exec puma -C "$CONFIG"
EOT
COPY <<one <<two /opt/app/config/
port: ${PORT:-3000}
one
workers: 2
two

FROM node:${NODE_VERSION}

# Use those args to specify your own version flags & suffixes
ARG VERSION_PRERELEASE=""
ARG VERSION_METADATA=""
ARG UID="991"
ARG GID="991"

COPY --link --from=ruby /opt/ruby /opt/ruby
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ENV DEBIAN_FRONTEND="noninteractive" \
    PATH="${PATH}:/opt/ruby/bin:/opt/app/bin"

# Ignoring these here since we don't want to pin any versions and the Debian image removes apt-get content after use
# hadolint ignore=DL3008,DL3009
RUN apt-get update && \
    echo "Etc/UTC" > /etc/localtime && \
    groupadd -g "${GID}" app && \
    useradd -l -u "$UID" -g "${GID}" -m -d /opt/app app && \
    ln -s /opt/app /app

COPY --chown=app:app --exclude=spec --exclude=**/*.md . /opt/app
COPY --chown=app:app --from=build /opt/app /opt/app

ENV RAILS_ENV="production" \
    NODE_ENV="production" \
    BIND="0.0.0.0" \
    APP_VERSION_PRERELEASE="${VERSION_PRERELEASE}" \
    APP_VERSION_METADATA="${VERSION_METADATA}"

USER app
WORKDIR /opt/app
RUN OTP_SECRET=precompile_placeholder SECRET_KEY_BASE=precompile_placeholder rails assets:precompile

HEALTHCHECK --interval=30s --timeout=10s --start-period=1m30s --retries=3 \
    CMD curl --fail http://localhost:3000/health || exit 1
ENTRYPOINT ["/usr/bin/tini", "--"]
EXPOSE 3000 4000

#
# In the manner of the official images of web servers: a generated file, loops over keys, several files copied at once.
#
FROM debian:bookworm-slim

LABEL maintainer="Web Server Maintainers <web@example.com>"

ENV SERVER_VERSION   1.27.1
ENV NJS_RELEASE      1~bookworm
ENV PKG_RELEASE      1~bookworm
ENV DYNPKG_RELEASE   2~bookworm

RUN set -x \
# create the user and group first, to be consistent throughout variants
    && groupadd --system --gid 101 server \
    && useradd --system --gid server --no-create-home --home /nonexistent --comment "server user" --shell /bin/false --uid 101 server \
    && \
    KEYS="573BFD6B3D8FBC641079A6ABABF5BD827BD9BF62 8540A6F18833A80E9C1653A42FD21310B49F6B46"; \
    for key in $KEYS; do \
        for keyserver in \
            hkp://keyserver.example.com:80 \
            pgp.example.com ; do \
                echo "Fetching key $key from $keyserver"; \
                gpg1 --batch --keyserver "$keyserver" --recv-keys "$key" && found=yes && break; \
        done; \
        test -z "$found" && echo >&2 "error: failed to fetch key $key" && exit 1; \
    done; \
    serverPackages=" \
        server=${SERVER_VERSION}-${PKG_RELEASE} \
        server-module-xslt=${SERVER_VERSION}-${DYNPKG_RELEASE} \
    " \
    && case "$(dpkg --print-architecture)" in \
        amd64|arm64) \
            echo "deb https://packages.example.com/debian/ bookworm server" >> /etc/apt/sources.list.d/server.list \
            ;; \
        *) \
            tempDir="$(mktemp -d)" \
            && chmod 777 "$tempDir" \
            && ( \
                cd "$tempDir" \
                && REVISION="${SERVER_VERSION}-${PKG_RELEASE}" \
                && REVISION=${REVISION%~*} \
                && curl -f -L -O https://github.com/example/pkg-oss/archive/${REVISION}.tar.gz \
            ) \
            ;; \
    esac \
    && apt-get remove --purge --auto-remove -y && rm -rf /var/lib/apt/lists/* \
# forward request and error logs to the collector
    && ln -sf /dev/stdout /var/log/server/access.log \
    && ln -sf /dev/stderr /var/log/server/error.log \
    && mkdir /docker-entrypoint.d

COPY docker-entrypoint.sh /
COPY 10-listen-on-ipv6-by-default.sh 15-local-resolvers.envsh /docker-entrypoint.d/
ENTRYPOINT ["/docker-entrypoint.sh"]

EXPOSE 80

STOPSIGNAL SIGQUIT

CMD ["server", "-g", "daemon off;"]

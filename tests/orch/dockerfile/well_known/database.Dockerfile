# In the manner of the official images of databases: comments amid a command, old ENV, packages with pinned keys.
FROM debian:bookworm-slim

# explicitly set user/group IDs
RUN set -eux; \
	groupadd -r keeper --gid=999; \
# a home is wanted by its tools
	useradd -r -g keeper --uid=999 --home-dir=/var/lib/keeper --shell=/bin/bash keeper; \
	install --verbose --directory --owner keeper --group keeper --mode 1777 /var/lib/keeper

ENV GOSU_VERSION 1.17
RUN set -eux; \
	savedAptMark="$(apt-mark showmanual)"; \
	apt-get update; \
	apt-get install -y --no-install-recommends ca-certificates wget; \
	rm -rf /var/lib/apt/lists/*; \
	dpkgArch="$(dpkg --print-architecture | awk -F- '{ print $NF }')"; \
	wget -O /usr/local/bin/gosu "https://example.com/gosu/$GOSU_VERSION/gosu-$dpkgArch"; \
	[ -z "$savedAptMark" ] || apt-mark manual $savedAptMark > /dev/null; \
	apt-get purge -y --auto-remove -o APT::AutoRemove::RecommendsImportant=false; \
	chmod +x /usr/local/bin/gosu

RUN set -eux; \
	if [ -f /etc/dpkg/dpkg.cfg.d/docker ]; then \
# if this file exists, we are likely in a slim variant, and locales are being excluded
		grep -q '/usr/share/locale' /etc/dpkg/dpkg.cfg.d/docker; \
		sed -ri '/\/usr\/share\/locale/d' /etc/dpkg/dpkg.cfg.d/docker; \
	fi; \
	echo 'en_US.UTF-8 UTF-8' >> /etc/locale.gen; \
	locale-gen

ENV LANG en_US.utf8
RUN mkdir /docker-entrypoint-initdb.d

ENV KEEPER_MAJOR 16
ENV KEEPER_VERSION 16.4-1.pgdg120+1
ENV PATH $PATH:/usr/lib/keeper/$KEEPER_MAJOR/bin
RUN set -ex; \
	\
# see note below about "*.pyc" files
	export PYTHONDONTWRITEBYTECODE=1; \
	dpkgArch="$(dpkg --print-architecture)"; \
	case "$dpkgArch" in \
		amd64 | arm64 | ppc64el) \
			echo "deb [ signed-by=$aptRepo ] http://apt.example.com/ bookworm main $KEEPER_MAJOR" > /etc/apt/sources.list.d/k.list; \
			;; \
		*) \
			echo >&2 "no packages for $dpkgArch"; exit 1 ;; \
	esac; \
	\
	find /usr -name '*.pyc' -type f -exec bash -c 'for pyc; do dpkg -S "$pyc" &> /dev/null || rm -vf "$pyc"; done' -- '{}' +; \
	keeper --version

RUN sed -ri "s!^#?(listen_addresses)\s*=\s*\S+.*!\1 = '*'!" /usr/share/keeper/keeper.conf.sample
RUN install --verbose --directory --owner keeper --group keeper --mode 3777 /var/run/keeper
ENV KDATA /var/lib/keeper/data
RUN mkdir -p "$KDATA" && chown -R keeper:keeper "$KDATA" && chmod 1777 "$KDATA"
VOLUME /var/lib/keeper/data

COPY docker-entrypoint.sh docker-ensure-initdb.sh /usr/local/bin/
RUN ln -sT docker-ensure-initdb.sh /usr/local/bin/docker-enforce-initdb.sh
ENTRYPOINT ["docker-entrypoint.sh"]
STOPSIGNAL SIGINT
EXPOSE 5432
CMD ["keeper"]

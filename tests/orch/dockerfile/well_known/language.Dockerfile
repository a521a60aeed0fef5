# In the manner of the official images of languages: built from source, tidied by what its libraries need.
FROM buildpack-deps:bookworm

ENV PATH /usr/local/bin:$PATH
ENV LANG C.UTF-8
ENV GPG_KEY A035C8C19219BA821ECEA86B64E628F8D684696D
ENV LANGUAGE_VERSION 3.11.12rc1
ENV LANGUAGE_SHA256 4e4ddc85e2e1a86d3b0e43db5bd8f3e6d7f8e9d2d1f1d2a1b2c3d4e5f6a7b8c9

RUN set -eux; \
	\
	wget -O language.tar.xz "https://www.example.org/ftp/${LANGUAGE_VERSION%%[a-z]*}/Language-$LANGUAGE_VERSION.tar.xz"; \
	echo "$LANGUAGE_SHA256 *language.tar.xz" | sha256sum -c -; \
	GNUPGHOME="$(mktemp -d)"; export GNUPGHOME; \
	tar --extract --directory /usr/src/language --strip-components=1 --file language.tar.xz; \
	gnuArch="$(dpkg-architecture --query DEB_BUILD_GNU_TYPE)"; \
	./configure \
		--build="$gnuArch" \
		--enable-loadable-sqlite-extensions \
		$(test "${gnuArch%%-*}" != 'riscv64' && echo '--with-lto') \
	; \
	nproc="$(nproc)"; \
	EXTRA_CFLAGS="$(dpkg-buildflags --get CFLAGS)"; \
	LDFLAGS="${LDFLAGS:--Wl},--strip-all"; \
	make -j "$nproc" \
		"EXTRA_CFLAGS=${EXTRA_CFLAGS:-}" \
		"LDFLAGS=${LDFLAGS:--Wl},-rpath='\$\$ORIGIN/../lib'" \
		language \
	; \
	find /usr/local -depth \
		\( \
			\( -type d -a \( -name test -o -name tests \) \) \
			-o \( -type f -a \( -name '*.pyc' -o -name 'lib*.a' \) \) \
		\) -exec rm -rf '{}' + \
	; \
	find /usr/local -type f -executable -not \( -name '*tkinter*' \) -exec ldd '{}' ';' \
		| awk '/=>/ { so = $(NF-1); if (index(so, "/usr/local/") == 1) { next }; gsub("^/(usr/)?", "", so); printf "*%s\n", so }' \
		| sort -u \
		| xargs -rt dpkg-query --search \
# https://manpages.debian.org/bookworm/dpkg/dpkg-query.1.en.html#S (we ignore diversions)
		| awk 'sub(":$", "", $1) { print $1 }' \
		| sort -u \
		| xargs -r apt-mark manual \
	; \
	language --version

# make some useful symlinks that are expected to exist
RUN set -eux; \
	for src in idle3 pip3 pydoc3 language3; do \
		dst="$(echo "$src" | tr -d 3)"; \
		[ -s "/usr/local/bin/$src" ]; \
		[ ! -e "/usr/local/bin/$dst" ]; \
		ln -svT "$src" "/usr/local/bin/$dst"; \
	done

CMD ["language3"]

#!/bin/sh
set -e
# allow the container to be started with --user
if [ "$1" = 'keeper-server' -a "$(id -u)" = '0' ]; then
	find . \! -user keeper -exec chown keeper '{}' +
	exec su keeper -c "exec $0 $*"
fi
exec "$@"

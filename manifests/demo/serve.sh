#!/bin/sh
# Serves the pages on port 8080 until it is told to stop. A version that is called broken is broken.
case $VERSION in
*broken*)
    echo 'orders.db: no such table: carts' >&2
    exit 3
    ;;
esac
trap 'kill $! 2>/dev/null; exit 0' TERM
httpd -f -p 8080 -h /www &
wait $!

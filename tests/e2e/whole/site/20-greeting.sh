#!/bin/sh
[ -z "$GREETING" ] || echo "$GREETING" > /usr/share/site/greeting

#!/bin/sh
echo "$SITE_VERSION" > /usr/share/site/version

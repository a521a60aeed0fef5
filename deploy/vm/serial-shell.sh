#!/bin/bash
# Commands come as base64, one a line; what they print goes back as base64, with their exit code.
stty raw -echo
echo ready
while read -r line; do
    base64 -d <<< "$line" > /run/serial-command
    (cd /root && HOME=/root setsid -w bash /run/serial-command < /dev/null > /run/serial-output 2>&1)
    echo "$? $(base64 -w0 /run/serial-output)"
done

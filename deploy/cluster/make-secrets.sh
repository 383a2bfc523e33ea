#!/bin/sh
# Make the secrets of the cluster in secrets/, once: the key of the private network, the secret of the cluster's
# peers, and the token with which pinfold asks them.
set -eu
cd "$(dirname "$0")"
random() { head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }
# Kubo reads its key as a user of its own in the container, so the files are readable behind a folder that is not.
mkdir -m 700 secrets
printf '/key/swarm/psk/1.0.0/\n/base16/\n%s\n' "$(random)" >secrets/swarm.key
random >secrets/cluster-secret
printf 'basic:pinfold:%s\n' "$(random)" >secrets/token
chmod 444 secrets/*

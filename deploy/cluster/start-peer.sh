#!/bin/sh
# Start a peer of IPFS Cluster in its container, with the secrets from files. Its state lies in LevelDB, which is
# synced at every change: the default, Pebble, loses the latest pins when a peer is killed (Cluster 1.1.6).
set -eu
CLUSTER_SECRET="$(cat /run/secrets/cluster_secret)"
CLUSTER_RESTAPI_BASICAUTHCREDENTIALS="$(sed 's/^basic://' /run/secrets/token)"
export CLUSTER_SECRET CLUSTER_RESTAPI_BASICAUTHCREDENTIALS
chown ipfs "$IPFS_CLUSTER_PATH"
if [ ! -e "$IPFS_CLUSTER_PATH/service.json" ]; then
    su-exec ipfs ipfs-cluster-service init --consensus crdt --datastore leveldb
fi
exec su-exec ipfs ipfs-cluster-service daemon

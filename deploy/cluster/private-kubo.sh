#!/bin/sh
# Settings of a Kubo that talks to its own network alone; run in the container before each start.
set -eu
ipfs bootstrap rm all
ipfs config Routing.Type none
ipfs config --json Provide.Enabled false
ipfs config --json HTTPRetrieval.Enabled false
ipfs config Plugins.Plugins.telemetry.Config.Mode off

#!/usr/bin/env bash
# Runs the object store suite against a real S3 server (versitygw over a folder, on loopback).
# usage: object_store.sh UNIT_COMPRESS_STORAGE_PROGRAM [VERSITYGW]
set -euo pipefail
program=$1
server=${2:-${CALIPRESS_DEPS:-$HOME/.cache/calipress}/bin/versitygw}
if [ ! -x "$server" ]; then
  echo "skipped: no versitygw at $server (go install github.com/versity/versitygw/cmd/versitygw@latest)"
  exit 77
fi
folder=$(mktemp -d)
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=testtest AWS_REGION=us-east-1 AWS_EC2_METADATA_DISABLED=true
mkdir -p "$folder/objects/calipress"
server_pid=
finish() {
  [ -z "$server_pid" ] || kill "$server_pid" 2>/dev/null || true
  [ -z "$server_pid" ] || wait "$server_pid" 2>/dev/null || true
  rm -rf "$folder"
}
trap finish EXIT
# A free port, asked of the system; taken again at once by the server.
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$server" --access "$AWS_ACCESS_KEY_ID" --secret "$AWS_SECRET_ACCESS_KEY" --port "127.0.0.1:$port" \
  posix "$folder/objects" >"$folder/server.log" 2>&1 &
server_pid=$!
for _ in $(seq 100); do
  if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then break; fi
  sleep 0.1
done
AWS_ENDPOINT_URL_S3="http://127.0.0.1:$port" CALIPRESS_TEST_S3=s3://calipress/suite \
  "$program" --gtest_filter='*ObjectStoreConformance*s3*:*OfS3' || { cat "$folder/server.log"; exit 1; }

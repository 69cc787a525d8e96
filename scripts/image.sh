#!/usr/bin/env bash
# Builds the image chancery:VERSION, and chancery:latest or the tag that is given, around bin/chancery or what BINARY
# names, and prints its size. It needs a Docker engine and no registry.
#
#   scripts/image.sh [NAME:TAG]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=${VERSION:-$(scripts/version.sh)}
# A tag may not hold what a version may, such as +.
tag=$(tr -c 'A-Za-z0-9_.\n-' '-' <<<"$version")
also=${1:-chancery:latest}
binary=${BINARY:-bin/chancery}
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
most=$((60 * 1000 * 1000)) # bytes on disk

docker version --format '{{.Server.Version}}' >/dev/null || { echo "image: no Docker engine answers; start one, or set DOCKER_HOST" >&2; exit 1; }

context=$(mktemp -d)
trap 'rm -rf "$context" "$context.log"' EXIT
# Readable for everybody, whatever the caller's umask: the node is neither the caller nor root.
install -D -m 0755 "$binary" "$context/root/usr/bin/chancery"
install -D -m 0644 LICENSE "$context/LICENSE"
for bundle in "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem /etc/ssl/cert.pem; do
  if [ -n "$bundle" ] && [ -r "$bundle" ]; then
    install -D -m 0644 "$bundle" "$context/root/etc/ssl/certs/ca-certificates.crt"
    break
  fi
done
if [ ! -e "$context/root/etc/ssl/certs/ca-certificates.crt" ]; then
  echo "image: this machine has no bundle of certificate authorities, so the image has none: https webhooks will fail until one is mounted at /etc/ssl/certs/ca-certificates.crt" >&2
fi

docker build --quiet --target host --file Dockerfile --build-arg "VERSION=$version" --build-arg "REVISION=$revision" \
  --tag "chancery:$tag" --tag "$also" "$context" >/dev/null 2>"$context.log" || { cat "$context.log" >&2; exit 1; }
size=$(docker image inspect --format '{{.Size}}' "chancery:$tag")
packed=$(docker image save "chancery:$tag" | gzip | wc -c)
mb() { printf '%d.%d MB' $(($1 / 1000000)) $(($1 / 100000 % 10)); }
echo "chancery:$tag, also as $also: $(mb "$size") on disk, $(mb "$packed") compressed"
if [ "$size" -gt "$most" ]; then
  echo "image: that is more than $((most / 1000000)) MB" >&2
  exit 1
fi

#!/bin/sh
# Makes the root of an image, in a Debian container: installs the named packages, takes away what only installing needs, and makes the
# user and the directories that volumes take their owner from.
set -e
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install -y --no-install-recommends tini "$@"
useradd --system --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin stagecoach
for dir in runs keys worker-keys run/stagecoach; do
  install -d -m 0750 -o stagecoach -g stagecoach "/$dir"
done
# dpkg's list of packages stays, so that scanners see what is there.
dpkg --purge --force-depends --force-remove-essential --force-remove-protected \
  apt libapt-pkg6.0 gpgv debian-archive-keyring adduser debconf perl-base e2fsprogs logsave
rm -rf /var/lib/apt /var/cache/apt /var/cache/debconf /var/log/* /etc/apt /usr/share/man/* /usr/share/info/* /usr/share/locale/* "$0"
find /usr/share/doc -mindepth 2 ! -name copyright ! -type d -delete

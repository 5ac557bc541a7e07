#!/bin/sh
# Makes a wheel of pyslurm in /wheels from /from-host/pyslurm, a checkout that matches this Debian's Slurm. Without one it
# says so and makes nothing: the harvester then has one source, the commands' text.
set -eu
mkdir -p /wheels
version=$(dpkg-query --show --showformat='${Version}' slurm-wlm | cut -d. -f1,2)
source=/from-host/pyslurm
if [ ! -e "$source/setup.py" ]; then
    echo "**** NO PYSLURM in this image: from-host/pyslurm holds no source of pyslurm for Slurm $version" >&2
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
tools="gcc libc6-dev libslurm-dev python3-dev"
apt-get -qq update
# shellcheck disable=SC2086 # they are words
apt-get -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 install $tools >/dev/null
# The library itself stays. The list has packages that are only known of, too.
library=$(dpkg-query --show --showformat='${db:Status-Status} ${Package}\n' 'libslurm[0-9]*' | sed -n 's/^installed //p')
# shellcheck disable=SC2086 # as above
apt-mark manual $library >/dev/null
# 24.11.0 is not understood by Cython 3.1 and later. Quick to build matters more here than quick to run.
echo 'Cython<3.1' >/tmp/constraints
export PIP_CONSTRAINT=/tmp/constraints CFLAGS=-O0
export SLURM_INCLUDE_DIR=/usr/include SLURM_LIB_DIR="/usr/lib/$(gcc -dumpmachine)"
python3 -m venv /tmp/builder
if PIP_FIND_LINKS=/from-host/wheels /tmp/builder/bin/pip wheel --quiet --no-deps --wheel-dir /wheels "$source"; then
    echo "**** pyslurm for Slurm $version is in the image" >&2
else
    echo "**** NO PYSLURM in this image: the source in from-host/pyslurm does not build against Slurm $version" >&2
fi
# shellcheck disable=SC2086 # as above
apt-get -qq -y -o Dpkg::Use-Pty=0 purge --autoremove $tools >/dev/null
rm -rf /var/lib/apt/lists/* /tmp/constraints /tmp/builder

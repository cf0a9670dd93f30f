# Sourced by test/all: finds the clients and servers that the conformance tests
# run, and installs what is missing where it may (root on Debian and its kin).
#
# Two sets of clients go into a private directory instead of the system, because
# their packages conflict with others (heimdal-clients with krb5-user) or bring
# services along (samba-testsuite brings winbind):
#
#   $SKYREALM_HEIMDAL   directory of kinit.heimdal, kgetcred, …
#   ndrdump             on PATH
#
# shellcheck shell=bash

if [ "$(id -u)" = 0 ]; then
  clients_dir=/opt/skyrealm-clients
else
  clients_dir=${XDG_CACHE_HOME:-$HOME/.cache}/skyrealm-clients
fi

# What a Heimdal client loads, beside libraries that every Debian has.
heimdal_libs="libasn1-8-heimdal libgssapi3-heimdal libhcrypto5-heimdal libhdb9-heimdal libheimbase1-heimdal
  libheimntlm0-heimdal libhx509-5-heimdal libkadm5clnt7-heimdal libkadm5srv8-heimdal libkafs0-heimdal
  libkrb5-26-heimdal libotp0-heimdal libroken19-heimdal libsl0-heimdal libwind0-heimdal"

have() { command -v "$1" >/dev/null 2>&1; }

have_postgres() {
  local bin
  for bin in /usr/lib/postgresql/*/bin/postgres /usr/pgsql-*/bin/postgres; do
    [ -x "$bin" ] && return 0
  done
  have postgres
}

have_pkinit() {
  local plugin
  for plugin in /usr/lib/*/krb5/plugins/preauth/pkinit.so /usr/lib*/krb5/plugins/preauth/pkinit.so; do
    [ -e "$plugin" ] && return 0
  done
  return 1
}

heimdal_runs() { "$1/kinit.heimdal" --version >/dev/null 2>&1; }

# missing prints one Debian package per thing that is not here.
missing() {
  have_postgres || echo postgresql
  have kinit || echo krb5-user
  have_pkinit || echo krb5-pkinit # kinit's part that signs in with certificates
  compgen -G '/usr/lib/*/krb5/plugins/tls/k5tls.so' >/dev/null || echo krb5-k5tls # a KDC over HTTPS
  have ldapsearch || echo ldap-utils
  have curl || echo curl
  # servers that people sign in to with tickets; their -bin packages bring no service along
  have apache2 || echo apache2-bin
  [ -e /usr/lib/apache2/modules/mod_auth_gssapi.so ] || echo libapache2-mod-auth-gssapi
  have ssh || echo openssh-client
  [ -x /usr/sbin/sshd ] || echo openssh-server
  have java || echo default-jre-headless # which has the compiler that runs a source file
  have npm || echo npm # pgchild fetches a server with it where there is none, and a test does
  # a domain controller, for the agent's on-premises side; its tools provision it
  have samba || echo samba-ad-dc samba-ad-provision samba-dsdb-modules samba-vfs-modules
  have samba-tool || echo samba-common-bin python3-samba
  have net || echo samba-common-bin # reads the PAC of a ticket
  have ip || echo iproute2
  have gcc || echo gcc # the race detector links C
  [ -e /usr/include/stdlib.h ] || echo libc6-dev
  /usr/bin/python3 -c 'import msal' 2>/dev/null || echo python3-msal
}

# install runs apt-get with no service started and no question asked; stale or
# absent package lists are the usual cause of a failure, so it updates and tries
# once more.
install() {
  local made='' rc=0
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
    made=1
  fi
  apt_install "$@" || { apt-get update -q && apt_install "$@"; } || rc=$?
  [ -z "$made" ] || rm -f /usr/sbin/policy-rc.d
  return $rc
}

apt_install() {
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" </dev/null >/dev/null
}

# unpack_private NAME PACKAGE… downloads packages and unpacks them below
# $clients_dir/NAME without installing them. apt-get download needs no root.
unpack_private() (
  set -e
  name=$1
  shift
  tmp=$(mktemp -d)
  trap 'rm -rf "$tmp"' EXIT
  chmod 755 "$tmp" # apt drops to a user of its own
  cd "$tmp"
  apt-get download -qq "$@" >/dev/null 2>&1 || {
    [ "$(id -u)" != 0 ] || apt-get update -q
    apt-get download -qq "$@" >/dev/null
  }
  rm -rf "${clients_dir:?}/$name"
  mkdir -p "$clients_dir/$name"
  for deb in ./*.deb; do
    dpkg -x "$deb" "$clients_dir/$name"
  done
)

# private_libs NAME prints the library directory of an unpacked set.
private_libs() { echo "$clients_dir/$1/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || gcc -dumpmachine)"; }

find_heimdal() {
  local found
  if found=$(command -v kinit.heimdal) && heimdal_runs "${found%/*}"; then
    SKYREALM_HEIMDAL=${found%/*}
    return 0
  fi
  SKYREALM_HEIMDAL=$clients_dir/heimdal/usr/bin
  if ! heimdal_runs "$SKYREALM_HEIMDAL" && have apt-get; then
    if [ "$(id -u)" = 0 ]; then
      # shellcheck disable=SC2086
      install $heimdal_libs && unpack_private heimdal heimdal-clients
    else
      # shellcheck disable=SC2086
      [ -x "$SKYREALM_HEIMDAL/kinit.heimdal" ] || unpack_private heimdal heimdal-clients $heimdal_libs
      # Other sonames than MIT's, so those clients do not notice.
      LD_LIBRARY_PATH=$(private_libs heimdal)${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
      export LD_LIBRARY_PATH
    fi
  fi
  heimdal_runs "$SKYREALM_HEIMDAL"
}

# ndrdump is an oracle for the PAC. Its libraries come with samba-libs.
find_ndrdump() {
  PATH=$PATH:$clients_dir/samba/usr/bin
  if ! have_ndrdump && have apt-get && [ "$(id -u)" = 0 ]; then
    install samba-libs && unpack_private samba samba-testsuite
  fi
  have_ndrdump
}

have_ndrdump() { ndrdump --version >/dev/null 2>&1; }

# kdc_servers prints the directory that the KDCs of MIT and Heimdal are unpacked in, for
# test/bench/kdc; no test needs them.
kdc_servers() {
  local root=$clients_dir/kdcs
  if [ ! -x "$root/usr/sbin/krb5kdc" ]; then
    [ "$(id -u)" = 0 ] && have apt-get || { echo "only root on Debian can" >&2; return 1; }
    find_heimdal >&2
    {
      install libkdb5-10 libkadm5srv-mit12 libgssrpc4 libverto1 libverto-libev1 libss2 libkdc2-heimdal libcap-ng0 &&
        unpack_private kdcs krb5-kdc krb5-admin-server heimdal-kdc
    } >&2 || return 1
  fi
  echo "$root"
}

# clients does it all; it fails with one line per thing that stays missing.
clients() {
  local packages rc=0
  packages=$(missing)
  if [ -n "$packages" ] && [ "$(id -u)" = 0 ] && have apt-get; then
    echo "installing:" $packages
    # shellcheck disable=SC2086
    install $packages || true
    packages=$(missing)
  fi
  if [ -n "$packages" ]; then
    echo "missing:" $packages "(as root: apt-get install" $packages")" >&2
    rc=1
  fi
  find_heimdal || { echo "missing: Heimdal's clients; run test/all as root once, on Debian or its kin" >&2; rc=1; }
  find_ndrdump || { echo "missing: Samba's ndrdump; run test/all as root once, on Debian or its kin" >&2; rc=1; }
  export SKYREALM_HEIMDAL PATH
  return $rc
}

#!/bin/sh
# Quay @VERSION@ for Linux on @ARCH@: a whole program in this one file, packed behind this script. The script unpacks it
# once, into a directory of your own, and becomes it. What it unpacked may be removed whenever it does not run.

program=program-@DIGEST@
elsewhere="set XDG_CACHE_HOME to a directory of yours"

fail() {
  echo "quay: $*" >&2
  exit 1
}

# A machine that cannot run it is told so here: the loader's words for it would help nobody.
check_machine() {
  machine=$(uname -m)
  [ "$machine" = "@ARCH@" ] || fail "this file is for @ARCH@ machines, and this one is $machine: get the file made for it."
  libc=$(getconf GNU_LIBC_VERSION 2>/dev/null || ldd --version 2>&1 | head -n 1)
  enough="Quay needs glibc @GLIBC@ or newer, as it is in @SYSTEMS@ and later"
  case $libc in
    *musl*) fail "the C library of this system is musl, and $enough: use a container of one of them." ;;
    *2.[0-9]*) [ "${libc##*2.}" -ge "@GLIBC_MINOR@" ] 2>/dev/null || fail "the C library of this system is too old ($libc): $enough." ;;
  esac
}

# What somebody else could have written is never run.
ours() { [ -d "$1" ] && [ ! -h "$1" ] && [ -O "$1" ]; }

# Below one's cache, or without a home, below the temporary directory.
find_place() {
  user=$(id -u)
  if [ "$user" = 0 ]; then cache=/var/cache; else cache=${HOME:+$HOME/.cache}; fi
  for above in "${XDG_CACHE_HOME:-}" "$cache"; do
    place=$above/quay
    if [ "$above" ] && { ours "$place" || { mkdir -p -m 0700 "$place" && ours "$place"; } 2>/dev/null; }; then return; fi
  done
  place=${TMPDIR:-/tmp}/quay-$user
  mkdir -m 0700 "$place" 2>/dev/null || ours "$place" || fail "there is no place to unpack it; $elsewhere."
}

# Whether it is there, and stays there while this process lives, whatever it becomes: that is what the lock is for.
held() {
  ours "$place/$program" || return 1
  { command exec 9<"$place/$program"; } 2>/dev/null || return 1
  flock -s 9 2>/dev/null
  [ -x "$place/$program/quay" ]
}

packed() { tail -n "+@BEGIN@" "$0"; }

# Made beside its place and renamed: it is there as a whole or not at all, also after a power cut.
unpack() (
  umask 077
  chmod 0700 "$place"
  draft=$(mktemp -d "$place/draft-XXXXXX") || fail "$place cannot be written; $elsewhere."
  trap 'rm -rf "$draft"' EXIT
  trap 'exit 1' HUP INT TERM
  exec 9<"$draft"
  flock -s 9 2>/dev/null
  if command -v sha256sum >/dev/null; then
    sum=$(packed | sha256sum)
    [ "${sum%% *}" = "@SHA256@" ] || fail "$0 is damaged or incomplete: copy it again."
  fi
  packed | tar -xzof - -C "$draft" || fail "it needs @MEGABYTES@ MB in $place: make room, or $elsewhere."
  [ -x "$draft/quay" ] || fail "no program may run in $place, which is mounted noexec; $elsewhere, on another file system."
  sync -f "$draft" 2>/dev/null || sync
  mv -T "$draft" "$place/$program" 2>/dev/null || [ -x "$place/$program/quay" ] || fail "$place/$program is in the way: remove it."
  clear_away
)

# Other versions, and what was not completed, where nobody has the lock.
clear_away() {
  for old in "$place"/program-* "$place"/draft-*; do
    if [ "$old" != "$place/$program" ] && [ -d "$old" ]; then (flock -xn 9 && rm -rf "$old") 9<"$old" 2>/dev/null; fi
  done
  return 0
}

path=${PATH-} had_path=${PATH+yes}
PATH=${PATH:+$PATH:}/usr/sbin:/usr/bin:/sbin:/bin
check_machine
find_place
held || { unpack && held; } || exit 1
if [ "$had_path" ]; then PATH=$path; else unset PATH; fi
exec "$place/$program/quay" "$@"

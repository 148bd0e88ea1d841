# What scripts/quickstart and scripts/test share: progress lines, messages, and packages. Sourced, never run.
# Everything is safe to repeat and to interrupt: each function looks at what is there and does the rest.

lem_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
lem_logs=$lem_root/build/logs

# stop WHAT [WHAT-TO-DO]...: says why there is no going on, and ends.
stop() {
  printf '\nerror: %s\n' "$1" >&2
  shift
  (($# == 0)) || printf '       %s\n' "$@" >&2
  exit 1
}

# Shows the last line of what comes in: in place on a terminal, else at most one line in 15 s.
show_progress() {
  local line shown_at=$SECONDS columns=${COLUMNS:-100}
  while IFS= read -r line; do
    if [[ -t 1 ]]; then
      printf '\r\033[K    %.*s' "$((columns - 6))" "$line"
    elif ((SECONDS - shown_at >= 15)); then
      printf '    %s\n' "$line"
      shown_at=$SECONDS
    fi
  done
  [[ ! -t 1 ]] || printf '\r\033[K'
}

# logged NAME COMMAND...: runs it with its output in build/logs/NAME.log and the last line on the terminal. When it
# fails, shows the end of the log. Returns the command's status.
logged() {
  local log=$lem_logs/$1.log status=0
  shift
  mkdir -p "$lem_logs"
  "$@" 2>&1 </dev/null | tee "$log" | show_progress || status=${PIPESTATUS[0]}
  if ((status != 0)); then
    printf '    failed (status %d): %s\n' "$status" "$*" >&2
    tail -n "${LEM_LOG_LINES:-40}" "$log" | sed 's/^/    | /' >&2
    printf '    all of it: %s\n' "$log" >&2
  fi
  return "$status"
}

# The names in package lists, without comments.
listed_packages() { sed 's/#.*//; s/[[:space:]]//g; /^$/d' "$@"; }

# Those of the named packages that are not installed.
missing_packages() {
  local installed name
  # dpkg-query fails when it does not know one of the names; what it prints for the others is right all the same.
  installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null) || true
  for name in "$@"; do
    grep -qxF "installed $name" <<<"$installed" || printf '%s\n' "$name"
  done
}

as_root() {
  if ((EUID == 0)); then
    "$@"
  else
    sudo "$@"
  fi
}

apt_get() {
  # Waits for another apt (such as unattended upgrades) for up to 5 minutes rather than failing at once.
  as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -o DPkg::Lock::Timeout=300 \
    -o Dpkg::Use-Pty=0 -o Acquire::Retries=3 -q "$@"
}

system_name() { (. /etc/os-release 2>/dev/null && printf '%s' "${PRETTY_NAME:-this system}"); }

# install_packages LIST...: installs what the lists name and is not there. Touches no network when nothing is missing.
install_packages() {
  local names missing name unknown=()
  mapfile -t names < <(listed_packages "$@")
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    stop "$(system_name) has no apt-get, so packages cannot be installed by this script." \
      "Install what these files list under the names of your system, then build with CMake (CONTRIBUTING.md):" "$@"
  fi
  mapfile -t missing < <(missing_packages "${names[@]}")
  if ((${#missing[@]} == 0)); then
    printf '    all %d packages are there\n' "${#names[@]}"
    return
  fi
  printf '    missing: %s\n' "${missing[*]}"
  if ((EUID != 0)); then
    command -v sudo >/dev/null || stop "installing packages needs root, and there is no sudo." "Run this script as root."
    sudo -v || stop "installing packages needs root, and sudo refused." "Run this script as root or as a user with sudo."
  fi
  # An installation that was cut off earlier is finished first.
  if [[ -n $(dpkg --audit 2>/dev/null) ]]; then
    logged dpkg-configure as_root env DEBIAN_FRONTEND=noninteractive dpkg --configure -a ||
      stop "an earlier installation was cut off and dpkg cannot finish it." "Try: sudo dpkg --configure -a"
  fi
  # One source that does not answer does not matter as long as the others know all packages.
  local update_failed=
  logged apt-update apt_get update || update_failed=yes
  for name in "${missing[@]}"; do
    apt-cache show --no-all-versions "$name" >/dev/null 2>&1 || unknown+=("$name")
  done
  if ((${#unknown[@]} > 0)); then
    if [[ -n $update_failed ]] || grep -qE '^(W|E|Err)' "$lem_logs/apt-update.log"; then
      stop "Debian's package lists could not be fetched, and these packages are unknown without: ${unknown[*]}" \
        "Check the network and the sources in /etc/apt, then run this script again."
    fi
    stop "$(system_name) does not have these packages: ${unknown[*]}" \
      "Lemonade is built on Debian 12 (bookworm, with its updates). Check the sources in /etc/apt."
  fi
  logged apt-install apt_get install -y --no-install-recommends "${missing[@]}" ||
    stop "apt-get could not install: ${missing[*]}" "Its last words are above. Mend that, then run this script again."
  mapfile -t missing < <(missing_packages "${names[@]}")
  ((${#missing[@]} == 0)) || stop "apt-get reported success, but these packages are not installed: ${missing[*]}"
}

# Runs the command behind `$1` for as long as somebody holds the other end of its stdin, who may be killed at any
# time. One who goes without a word will not come back: then the directory `$1` goes, too.
home=$1
shift
"$@" </dev/null &
program=$!
# Whoever reads them sees the end of the program, not of this.
exec >/dev/null 2>&1
read -r _ || gone=1
kill -KILL "$program"
wait "$program"
[ -z "$gone" ] || rm -rf "$home"

#!/bin/sh
# One trial on several processes: sh ranks.sh TRIAL torchrun --nproc-per-node 4
#
# torchrun and accelerate end with 1 whatever their processes ended with; the trial's folder knows
# better. Ends with 0 where it is done, 75 where it was asked to leave and saved, 1 where it failed.
trial=$1 launcher='' asked=''
shift
failure() { cat "$trial/failure.json" 2>/dev/null; }
before=$(failure) # of an earlier attempt: it stays until this one begins
# A terminal's signals, too: what runs behind `&` does not hear Ctrl-C by itself.
trap 'asked=1; [ -z "$launcher" ] || kill -TERM "$launcher"' TERM USR1 INT HUP
"$@" -m inflate_zoo bench-trial "$trial" &
launcher=$!
[ -z "$asked" ] || kill -TERM "$launcher" # one came just now
while :; do
  wait "$launcher" # a signal that is trapped ends it early
  code=$?
  kill -0 "$launcher" 2>/dev/null || break
done
[ -e "$trial/record.json" ] && exit 0
[ -n "$asked" ] && [ "$(failure)" = "$before" ] && exit 75
exit "$((code ? code : 1))"

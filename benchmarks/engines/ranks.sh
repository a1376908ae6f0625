#!/bin/sh
# One trial on several processes: sh ranks.sh TRIAL torchrun --nproc-per-node 4
#
# torchrun and accelerate end with 1 whatever their processes ended with; the trial's folder knows
# better. Ends with 0 where it is done, 75 where it was asked to leave and saved, 1 where it failed.
trial=$1
shift
"$@" -m inflate_zoo bench-trial "$trial" &
launcher=$!
trap 'asked=1; kill -TERM "$launcher"' TERM USR1
while :; do
  wait "$launcher" # a signal that is trapped ends it early
  code=$?
  kill -0 "$launcher" 2>/dev/null || break
done
[ -e "$trial/record.json" ] && exit 0
[ -n "${asked:-}" ] && [ ! -e "$trial/failure.json" ] && exit 75
exit "$((code ? code : 1))"

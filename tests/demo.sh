#!/bin/sh
# The tour of `make demo`: sh tests/demo.sh STOWAGE FOLDER
# It works twice in a row: every step replaces what it made before, and nothing else in FOLDER.
set -eu
stowage=$1
folder=$2

step() {
    printf '\n== %s\n' "$1"
}

run() { # print the command as one would type it, then run it
    printf '$ stowage'
    for word in "$@"; do
        case $word in
        *[!A-Za-z0-9_./=,:-]* | '') printf " '%s'" "$word" ;;
        *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
    "$stowage" "$@"
}

mkdir -p "$folder" || exit 1
echo "The demo works in $folder (DEMO=folder chooses another)."
echo "The first time it compiles the loops it runs, which takes a minute or two; again it takes seconds."

step "Half a day of a 200-machine cell, in the format of Google's 2011 trace"
run trace synth google2011 --machines 200 --days 0.5 --seed 1 -o "$folder/google2011" --force

step "Import it: published files in, checked Parquet tables out"
run trace import google2011 "$folder/google2011" -o "$folder/trace" --force

step "Check it: what is in it, and whether its story is legal"
run trace check "$folder/trace"

step "Replay it as recorded: the baseline, its overload counted by the limits that the others get"
run replay "$folder/trace" --mode recorded --overcommit cpu=1.35 --overcommit memory=1.25 \
  -o "$folder/runs/recorded" --force

# Like Google's, the recorded schedule gives machines more requests than they have (see the check above).
for policy in best-fit worst-fit kube-default; do
    step "What if $policy had decided, allowed to over-commit as the recorded schedule did?"
    run replay "$folder/trace" --policy "$policy" --overcommit cpu=1.35 --overcommit memory=1.25 \
        -o "$folder/runs/$policy" --force
done

step "Compare: differences to what was recorded, with 95 % intervals"
run compare "$folder/runs/recorded" "$folder/runs/best-fit" "$folder/runs/worst-fit" "$folder/runs/kube-default"

step "Ask a run in SQL: what did each tier wait?"
run sql "$folder/runs/best-fit" \
    "select tier, count(*) as attempts, round(median(waited_us) / 1e6, 1) as median_wait_s from attempts group by tier"

cat <<END

== Next
Look at them: this serves the runs and the trace as pages in your browser, until Ctrl-C:
  "$stowage" dashboard "$folder/runs" "$folder/trace"
Or ask: \`stowage sql --help\` names the views.
  "$stowage" sql "$folder/runs/best-fit" "select * from series limit 5"
  "$stowage" policies
  "$stowage" replay "$folder/trace" --policy best-fit --nodes x0.9 -o "$folder/runs/nine-tenths"
  "$stowage" capacity "$folder/trace" --policy best-fit --tier production --delay-p99 60s --overcommit cpu=1.35 --overcommit memory=1.25
README.md has the tour with Google's own files.
END

# Offered only to somebody who sits there.
if [ -t 0 ] && [ -t 1 ]; then
    printf '\nServe them now? [y/N] '
    read -r answer || answer=n
    case $answer in
    y | Y | yes) run dashboard "$folder/runs" "$folder/trace" || : ;;
    esac
fi

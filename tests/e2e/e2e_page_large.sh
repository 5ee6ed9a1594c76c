# The page of a run of 64 stages and 100,000 steps, in a real browser: it is drawn, with the newest step, and what drawing costs is
# printed. Needs chromium, as e2e_page.sh.
. "$(dirname "$0")/lib.sh" "$@"
command -v chromium >/dev/null || { echo "SKIPPED: chromium is not installed"; exit 77; }
mkfifo hold
large-run 64 100000 <hold >url &
exec 3>hold
wait_for url http
pictures=()
[ -z "${SC_SCREENSHOTS:-}" ] || { mkdir -p "$SC_SCREENSHOTS/large"; pictures=(--pictures "$SC_SCREENSHOTS/large"); }
drawn='(window.drawn ||= document.querySelectorAll(".stage").length === 64 && schedule && points.length > 100 &&
  points[points.length - 1].step > 100000 && performance.now()) > 0'
frame='(() => { const n = 20, t = performance.now(); for (let i = 0; i < n; i++) { drawStatus(); drawStages(); for (const c of curves) c.draw(); }
  return ((performance.now() - t) / n).toFixed(1); })()'
"$sources/tests/tools/browse.py" "$(cat url)" "$drawn" "${pictures[@]}" --value 'window.drawn | 0' --value "$frame" --value 'points.length' \
  >page.txt || fail "the page"
says page.txt 'training' 'host-63:1063' 'Stage 63'
tail -4 page.txt | sed -nE 's/^window.drawn.*: /milliseconds to the first drawing: /p; s/^ *return.*: /milliseconds to draw all of it again: /p;
  s/^points.length: /points: /p'
[ "$(sed -n 's/^points.length: //p' page.txt)" -le 6000 ] || fail "the page keeps all points"

#!/usr/bin/env bash
# Copies a bucket to a second region every night and checks the copy.
#
# We hand this to customers who ask for a copy outside of the region. Put it
# on a small machine (a g2 is enough up to about 3 million objects) and run it
# from cron at a quiet hour:
#
#   15 2 * * *  ops  /opt/nbf/bucket_sync.sh photos photos-copy
#
# The two buckets must have versioning on, or a deleted object is lost in both.

set -euo pipefail

SOURCE="${1:?source bucket}"
TARGET="${2:?target bucket}"
SOURCE_REGION="${SOURCE_REGION:-alp-1}"
TARGET_REGION="${TARGET_REGION:-nor-1}"

# 24 copies at a time keep below the request rate of a bucket.
PARALLEL=24
# More deletions than this in one night look like an accident: stop and ask.
MAX_DELETE=5000
# One object in 500 is read back in full and compared.
SAMPLE=500

LOCK="/run/lock/bucket_sync.$SOURCE"
LOG="/var/log/nbf/bucket_sync.$SOURCE.log"

# A second run while the first one is busy ends at once with code 75, which
# cron does not report.
exec 9>"$LOCK"
flock -n 9 || exit 75

log() { printf '%s %s\n' "$(date -u +%FT%TZ)" "$*" >>"$LOG"; }

deletions=$(nbf bucket diff "$SOURCE" "$TARGET" --only-deleted --count)
if (( deletions > MAX_DELETE )); then
    log "REFUSED $deletions deletions, limit $MAX_DELETE; run with FORCE=1 if this is meant"
    [[ "${FORCE:-0}" == 1 ]] || exit 65
fi

log "start $SOURCE@$SOURCE_REGION -> $TARGET@$TARGET_REGION"
nbf bucket copy "$SOURCE" "$TARGET" \
    --from-region "$SOURCE_REGION" --to-region "$TARGET_REGION" \
    --parallel "$PARALLEL" --delete --skip-class vault

# Exit code 70: a sample differed. The copy is kept; open a ticket with
# component "object" and attach the log.
if ! nbf bucket verify "$SOURCE" "$TARGET" --one-in "$SAMPLE" >>"$LOG" 2>&1; then
    log "VERIFY FAILED"
    exit 70
fi
log "done"

#!/bin/sh
# Renders the pictures that the guest's cameras show, then runs scenarios.sh in the guest.
#   run.sh OUT CAMLIVE PHOTOGRAPH
# Exit status as boot.sh.
set -eu
out=$1
camlive=$2
photograph=$3
here=$(dirname "$0")
command -v ffmpeg > /dev/null || { echo "no ffmpeg: install ffmpeg" >&2; exit 69; }
mkdir -p "$out"

# The photograph in the lower right of a grey picture. Emulated, ffmpeg would need most of a second for each.
render() {
    name=$1
    shift
    ffmpeg -nostdin -loglevel error -y -i "$photograph" -frames:v 1 \
        -vf "scale=400:300,pad=640:480:240:180:gray,format=$1" $2 "$out/$name.picture"
}
render yuyv yuyv422 "-f rawvideo"
render nv12 nv12 "-f rawvideo"
render rgb24 rgb24 "-f rawvideo"
render grey gray "-f rawvideo"
render mjpeg yuvj422p "-c:v mjpeg -q:v 3 -f mjpeg"

exec "$here/boot.sh" "$out" sh "$here/scenarios.sh" "$camlive"

#!/bin/sh
# What happens to the cameras while camlive runs. Runs in the guest, started by run.sh: scenarios.sh CAMLIVE
# Each run leaves NAME.events, NAME.log and NAME.status in /run/out; tests/cameras.rs judges them.
camlive=$1
out=/run/out
# Emulation makes the shipped network some hundred times slower: a tiny one where its findings do not matter.
tiny="--model tests/networks/conv-head.onnx"
limit=180

# run NAME SOURCE [OPTION]...: camlive to its end; status 124 or 137 is a hang.
run() {
    name=$1
    shift
    timeout -k 5 $limit "$camlive" run "$@" --view none --events - > "$out/$name.events" 2> "$out/$name.log" &
    echo $! > "$out/$name.pid"
    wait $!
    echo $? > "$out/$name.status"
}

# start NAME SOURCE [OPTION]...: camlive in the background; returns after its second event, or at its end.
start() {
    : > "$out/$1.events"
    run "$@" &
    running=$!
    until [ "$(wc -l < "$out/$1.events")" -ge 2 ] || [ -e "$out/$1.status" ]; do
        sleep 0.5
    done
}

# feed NAME DEVICE INPUT...: ffmpeg shows the picture NAME on a loopback camera, twice a second.
feed() {
    picture=$1
    device=$2
    shift 2
    ffmpeg -nostdin -loglevel error -re -stream_loop -1 "$@" -i "$out/$picture.picture" \
        -c:v copy -f v4l2 "$device" 2> "$out/$picture.feeder" &
    feeder=$!
    for _ in $(seq 60); do
        v4l2-ctl -d "$device" --list-formats > "$out/$picture.formats"
        grep -q "\[0\]" "$out/$picture.formats" && break
        sleep 0.5
    done
}

starve() {
    kill "$feeder"
    wait "$feeder"
}

# photograph NAME DEVICE INPUT...: camlive before a camera that offers one format and shows the picture NAME.
photograph() {
    feed "$@"
    run "$1" "$2" --frames 1
    starve
}
raw="-f rawvideo -video_size 640x480 -framerate 2 -pixel_format"

# Nothing is there yet.
run no-camera --frames 1 $tiny

modprobe vivid n_devs=2 node_types=1,1 num_inputs=1,1 input_types=0,0 vid_cap_nr=0,1
modprobe v4l2loopback devices=6 video_nr=20,21,22,23,24,25 exclusive_caps=1,1,1,1,1,1

(
    photograph mjpeg /dev/video20 -f mjpeg -framerate 2
    photograph nv12 /dev/video21 $raw nv12
    photograph grey /dev/video22 $raw gray
) &
formats=$!

# A camera that offers everything.
run vivid /dev/video0 --frames 3 $tiny
v4l2-ctl -d /dev/video0 --get-fmt-video > $out/vivid.format

# A camera that damages pictures and drops every other one.
start damaged /dev/video0 --frames 60 $tiny
for _ in 1 2 3; do # camlive does not read a picture that a newer one has overtaken
    v4l2-ctl -d /dev/video0 -c inject_v4l2_buf_flag_error=1
done
v4l2-ctl -d /dev/video0 -c percentage_of_dropped_buffers=50
wait $running
v4l2-ctl -d /dev/video0 -c percentage_of_dropped_buffers=0

# A camera whose driver refuses to take a buffer back.
start refusing /dev/video0 $tiny
v4l2-ctl -d /dev/video0 -c inject_vidioc_qbuf_error=1
wait $running

# A camera whose driver reports a fatal error.
start broken /dev/video0 $tiny
v4l2-ctl -d /dev/video0 -c inject_fatal_streaming_error=1
wait $running

# A camera that is unplugged.
start disconnected /dev/video0 $tiny
v4l2-ctl -d /dev/video0 -c disconnect=1
wait $running

# A user who has seen enough.
start interrupted /dev/video1 $tiny
kill -INT "$(cat $out/interrupted.pid)" # which timeout hands on
wait $running

# A camera whose driver is taken away.
start removed /dev/video1 $tiny
echo vivid.0 > /sys/bus/platform/drivers/vivid/unbind
wait $running

photograph yuyv /dev/video23 $raw yuyv422
photograph rgb24 /dev/video24 $raw rgb24

# A camera that falls silent.
feed yuyv /dev/video25 $raw yuyv422
start silent /dev/video25 $tiny
starve
wait $running

wait $formats
exit 0 # whatever ffmpeg said when it was ended

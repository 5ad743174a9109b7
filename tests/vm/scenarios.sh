#!/bin/sh
# What happens to the cameras while camlive runs. Runs in the guest: scenarios.sh CAMLIVE PHOTOGRAPH
# Each run leaves NAME.events, NAME.log and NAME.status in /run/out; tests/cameras.rs judges them.
camlive=$1
photograph=$2
# Emulation makes the network some hundred times slower: a small input where its findings do not matter.
small="--input-size 96"
seconds=60

# run NAME SOURCE [OPTION]...: camlive to its end; status 124 or 137 is a hang.
run() {
    name=$1
    shift
    timeout -k 5 $seconds "$camlive" run "$@" --view none --events - > "/run/out/$name.events" 2> "/run/out/$name.log"
    echo $? > "/run/out/$name.status"
}

# during NAME: waits for two events of the run NAME, which is under way.
during() {
    for _ in $(seq $seconds); do
        [ "$(wc -l < "/run/out/$1.events")" -ge 2 ] && return
        [ -e "/run/out/$1.status" ] && return
        sleep 0.5
    done
}

# feed DEVICE FORMAT [OPTION]...: the photograph in the lower right of a grey picture, five times a second.
feed() {
    device=$1
    format=$2
    shift 2
    ffmpeg -nostdin -loglevel error -re -loop 1 -framerate 5 -i "$photograph" \
        -vf "scale=400:300,pad=640:480:240:180:gray,format=$format" "$@" -f v4l2 "$device" 2> "/run/out/${device##*/}.feeder" &
    feeder=$!
    for _ in $(seq 40); do
        v4l2-ctl -d "$device" --list-formats | grep -q "\[0\]" && break
        sleep 0.5
    done
}

starve() {
    kill "$feeder"
    wait "$feeder"
}

# Nothing is there yet.
run no-camera --frames 1 $small

modprobe vivid n_devs=2 node_types=1,1 num_inputs=1,1 input_types=0,0 vid_cap_nr=0,1
modprobe v4l2loopback devices=5 video_nr=20,21,22,23,24 exclusive_caps=1,1,1,1,1

# A camera that offers everything.
v4l2-ctl -d /dev/video0 --set-fmt-video=width=640,height=480,pixelformat=YUYV
run vivid /dev/video0 --frames 3 $small
v4l2-ctl -d /dev/video0 --get-fmt-video > /run/out/vivid.format

# Cameras that offer one format each, and a known photograph before them.
photograph_as() {
    feed "$2" "$3" $4
    v4l2-ctl -d "$2" --list-formats > "/run/out/$1.formats"
    run "$1" "$2" --frames 1
    starve
}
photograph_as yuyv /dev/video20 yuyv422
photograph_as mjpeg /dev/video21 yuvj422p "-c:v mjpeg"
photograph_as nv12 /dev/video22 nv12
photograph_as rgb24 /dev/video23 rgb24
photograph_as grey /dev/video24 gray

# A camera that falls silent.
feed /dev/video20 yuyv422
run silent /dev/video20 $small &
run=$!
during silent
starve
wait "$run"

# A camera that drops and damages pictures.
run damaged /dev/video0 --frames 6 $small &
run=$!
during damaged
v4l2-ctl -d /dev/video0 -c inject_v4l2_buf_flag_error=1 -c inject_vidioc_qbuf_error=1 -c percentage_of_dropped_buffers=50
wait "$run"
v4l2-ctl -d /dev/video0 -c percentage_of_dropped_buffers=0

# A camera whose driver gives up.
run broken /dev/video0 $small &
run=$!
during broken
v4l2-ctl -d /dev/video0 -c inject_fatal_streaming_error=1
wait "$run"

# A camera that says it is gone.
run disconnected /dev/video0 $small &
run=$!
during disconnected
v4l2-ctl -d /dev/video0 -c disconnect=1
wait "$run"

# A user who has seen enough.
run interrupted /dev/video1 $small &
run=$!
during interrupted
busybox killall -INT camlive
wait "$run"

# A camera whose driver is taken away.
run removed /dev/video1 $small &
run=$!
during removed
echo vivid.0 > /sys/bus/platform/drivers/vivid/unbind
wait "$run"

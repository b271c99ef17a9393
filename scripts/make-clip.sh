#!/bin/sh
# Makes assets/clip.mp4, the clip that `npm start` and the tests run on, and records what ffprobe says of it.
#
# Three scenes of 25 frames (a moving test pattern, a fractal, color bars that move), so that a scene-cut measure has two
# right answers; H.264 High with B-frames, so that decoding order is not presentation order; AAC, so that there is a
# second track to leave alone; index in front, so that a file cut short still says how many frames it should have.
# Needs ffmpeg with libx264 (any since 5). Output differs by encoder version; that is why the facts are recorded with it.
set -eu
cd "$(dirname "$0")/.."

ffmpeg -hide_banner -loglevel error -y \
  -f lavfi -i "testsrc2=size=1280x720:rate=25:duration=1" \
  -f lavfi -i "mandelbrot=size=1280x720:rate=25:start_scale=1.6:end_scale=0.4:end_pts=40" \
  -f lavfi -i "smptehdbars=size=1280x720:rate=25:duration=1" \
  -f lavfi -i "sine=frequency=440:sample_rate=48000:duration=3" \
  -filter_complex "[1:v]trim=duration=1,setpts=PTS-STARTPTS[fractal];[2:v]scroll=horizontal=0.0125[bars];\
[0:v][fractal][bars]concat=n=3:v=1:a=0,format=yuv420p,setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709[v]" \
  -map "[v]" -map 3:a -t 3 \
  -c:v libx264 -profile:v high -preset veryslow -crf 39 -bf 3 -g 75 \
  -colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv \
  -c:a aac -b:a 32k -ac 1 \
  -fflags +bitexact -flags:v +bitexact -flags:a +bitexact -map_metadata -1 -movflags +faststart \
  assets/clip.mp4

ffprobe -v error -select_streams v:0 -count_frames -of json \
  -show_entries "stream=codec_name,profile,width,height,pix_fmt,has_b_frames,r_frame_rate,time_base,start_time,duration,nb_frames,nb_read_frames:stream_tags=rotate:stream_side_data=rotation:frame=pts_time" \
  assets/clip.mp4 > assets/clip.ffprobe.json
npx --no-install biome format --write assets/clip.ffprobe.json

ls -l assets/clip.mp4

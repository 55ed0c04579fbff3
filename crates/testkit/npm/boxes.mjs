// Files in, each the path of one track's whole fragmented MP4; what mp4box.js reads in each of them out, as JSON.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const require = createRequire(process.argv[2]);
const { createFile, MP4BoxBuffer } = require('mp4box');

const read = (path) => {
  const bytes = readFileSync(path);
  const copy = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
  const file = createFile(true);
  const told = { errors: [] };
  file.onError = (module, message) => told.errors.push(`${module}: ${message}`);
  file.onReady = (info) => {
    const [track] = info.tracks;
    Object.assign(told, {
      brands: info.brands,
      codec: track.codec,
      language: track.language,
      timescale: track.timescale,
      size: track.video && [track.track_width, track.track_height],
      sound: track.audio && [track.audio.sample_rate, track.audio.channel_count],
    });
  };
  file.appendBuffer(MP4BoxBuffer.fromArrayBuffer(copy, 0));
  file.flush();
  told.samples = file.getTrackSamplesInfo(1).map((sample) => [sample.dts, sample.duration, sample.size, sample.is_sync]);
  return told;
};

console.log(JSON.stringify(process.argv.slice(3).map(read)));

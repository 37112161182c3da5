// The tracks of a take over one clock: they start together, and mute, solo and volume only turn them up or down.
const LONG_SECONDS = 240; // of songs as long as that only one take is held decoded

function makePlayer(onStop) {
  let context = null, tracks = [], sources = [], gains = [], at = 0, since = 0, playing = false, seconds = 0, wanted = 0;
  const levels = new Map(), decoded = new Map();

  const level = (name) => {
    if (!levels.has(name)) levels.set(name, { mute: false, solo: false, volume: 1 });
    return levels.get(name);
  };

  function loud(name) {
    const { mute, solo, volume } = level(name);
    const alone = tracks.some((track) => level(track.name).solo);
    return mute || (alone && !solo) ? 0 : volume;
  }

  function turn() {
    tracks.forEach((track, index) => gains[index]?.gain.setTargetAtTime(loud(track.name), context.currentTime, 0.01));
  }

  function bufferOf(url) {
    if (!decoded.has(url)) {
      const sound = fetch(url).then((answer) => {
        if (!answer.ok) throw Error("This take is not there any more. Please load the page again.");
        return answer.arrayBuffer();
      });
      decoded.set(url, sound.then((data) => context.decodeAudioData(data)));
      decoded.get(url).catch(() => decoded.delete(url));
    }
    return decoded.get(url);
  }

  function forget(kept) {
    const urls = new Set(kept.flatMap((take) => take.tracks.map((track) => track.url)));
    for (const url of decoded.keys()) if (!urls.has(url)) decoded.delete(url);
  }

  function silence() {
    for (const source of sources) {
      source.onended = null;
      source.stop();
    }
    sources = [];
  }

  function sound() {
    silence();
    const when = context.currentTime + 0.05;
    gains = tracks.map((track) => new GainNode(context, { gain: loud(track.name) }));
    sources = tracks.map((track, index) => {
      const source = new AudioBufferSourceNode(context, { buffer: track.buffer });
      source.connect(gains[index]).connect(context.destination);
      source.start(when, at);
      return source;
    });
    since = when;
  }

  const now = () => (playing ? Math.min(seconds, Math.max(at, at + context.currentTime - since)) : at);

  return {
    level,
    now,
    get playing() { return playing; },
    get seconds() { return seconds; },
    // Decode a take and play on in it where the last one was; `before` is another one to hold ready.
    async load(take, before) {
      const mine = ++wanted;
      context ??= new AudioContext();
      const buffers = await Promise.all(take.tracks.map((track) => bufferOf(track.url)));
      if (mine !== wanted) return null;
      at = Math.min(now(), take.seconds);
      tracks = take.tracks.map((track, index) => ({ name: track.name, buffer: buffers[index] }));
      seconds = take.seconds;
      forget(before && seconds < LONG_SECONDS ? [take, before] : [take]);
      if (playing) sound();
      return buffers;
    },
    async play() {
      if (!tracks.length || playing) return;
      await context.resume();
      if (at >= seconds - 0.01) at = 0;
      playing = true;
      sound();
    },
    pause() {
      if (!playing) return;
      at = now();
      playing = false;
      silence();
      onStop();
    },
    seek(to) {
      at = Math.min(Math.max(0, to), seconds);
      if (playing) sound();
    },
    set(name, change) {
      Object.assign(level(name), change);
      if (context) turn();
    },
  };
}

// The takes of a recording: player, tracks, bars with chords, and what to play anew. Built on player.js and pictures.js.
const COLOURS = ["#e0679a", "#7c5fd3", "#2f9e8f", "#d58a2b", "#4a82d4"];
const desk = document.createElement("section");
desk.className = "ag-desk";
element.append(desk);

const state = { shown: 0, take: null, before: null, part: null, scope: "", busy: false, bars: [], buffers: null };
const player = makePlayer(() => tick());
const make = (kind, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(kind), properties);
  made.append(...children);
  return made;
};
const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
const find = (selector) => desk.querySelector(selector);
const title = (take) => `Take ${take.number}${take.title ? ` · ${take.title}` : ""}`;

// The frame, once; its rows are filled by `showTake`.
function build() {
  desk.innerHTML = `
    <div class="ag-takes" role="group" aria-label="Takes"></div>
    <div class="ag-transport">
      <button type="button" class="ag-play" aria-label="Play">▶</button>
      <output class="ag-clock"></output><span class="ag-space"></span>
      <button type="button" class="ag-ab" title="Hear this take and the one before in turn">A/B</button>
      <span class="ag-files"><select class="ag-bits" aria-label="Bits of the files"><option value="24">24 bits</option>
        <option value="16">16 bits</option><option value="32f">32 bits, float</option></select>
      <button type="button" class="ag-download">Download</button></span>
    </div>
    <div class="ag-chart">
      <div class="ag-facts">
        <label>Tempo <input class="ag-bpm" inputmode="decimal"></label>
        <label>Key <input class="ag-key"></label>
        <button type="button" class="ag-apply" hidden>Play these chords</button>
      </div>
      <div class="ag-bars"></div>
    </div>
    <div class="ag-tracks"><div class="ag-rows"></div>
      <div class="ag-over"><div class="ag-part"></div><div class="ag-head"></div></div>
    </div>
    <div class="ag-row ag-whole"><div class="ag-name">Together</div><canvas class="ag-spectrogram"></canvas></div>
    <div class="ag-again">
      <div class="ag-scope" role="radiogroup" aria-label="What to play anew"></div>
      <p class="ag-hint"></p>
      <input class="ag-prompt" placeholder="How should it sound? Name an instrument or two" aria-label="How should it sound?">
      <div class="ag-go"><button type="button" class="ag-another">Another take</button>
        <label>Number <input class="ag-seed" inputmode="numeric"></label></div>
    </div>
    <p class="ag-said" role="alert"></p>`;
  find(".ag-play").onclick = () => (player.playing ? player.pause() : player.play().then(tick));
  find(".ag-ab").onclick = () => state.before && choose(state.before);
  find(".ag-download").onclick = download;
  find(".ag-another").onclick = () => another();
  find(".ag-apply").onclick = () => another({ whole: true, sameSeed: true });
  for (const name of [".ag-bpm", ".ag-key"]) find(name).oninput = changed;
  marking(find(".ag-tracks"));
  new ResizeObserver(() => state.buffers && draw()).observe(find(".ag-rows"));
}

// Takes

function choose(take) {
  if (take.number === state.take.number) return;
  state.before = state.take;
  state.take = take;
  showTake();
}

async function showTake() {
  const { take } = state;
  state.buffers = null;
  desk.dataset.ready = "";
  const chips = props.value.takes.map((one) =>
    make("button", { type: "button", textContent: title(one), ariaPressed: String(one.number === take.number), onclick: () => choose(one) }));
  find(".ag-takes").replaceChildren(...chips);
  find(".ag-ab").hidden = props.value.takes.length < 2;
  find(".ag-prompt").hidden = !props.value.text;
  find(".ag-prompt").value = take.prompt;
  find(".ag-seed").value = Math.max(...props.value.takes.map((one) => one.seed)) + 1;
  showChart();
  showTracks();
  showScope();
  say("");
  try {
    const buffers = await player.load(take, state.before);
    if (!buffers || take !== state.take) return;
    state.buffers = buffers;
    draw();
    desk.dataset.ready = String(take.number);
  } catch (error) {
    say(error.message || "This take cannot be played here.");
  }
  tick();
}

// Chart

function showChart() {
  const { chart } = state.take;
  find(".ag-chart").hidden = !chart;
  state.bars = [];
  if (!chart) return;
  find(".ag-bpm").value = chart.bpm;
  find(".ag-key").value = chart.key;
  find(".ag-apply").hidden = true;
  find(".ag-bars").replaceChildren(...chart.bars.map((bar) => {
    const chords = make("input", { value: bar.text, oninput: changed, spellcheck: false, autocapitalize: "off" });
    chords.setAttribute("aria-label", `Chords of bar ${bar.number}`);
    chords.onkeydown = (event) => event.key === "Enter" && !find(".ag-apply").hidden && find(".ag-apply").click();
    const number = make("button", { type: "button", textContent: bar.number || "•", onclick: () => { player.seek(bar.start); tick(); } });
    number.setAttribute("aria-label", `Go to bar ${bar.number}`);
    const box = make("div", { className: "ag-bar" }, number, chords);
    box.style.setProperty("--signs", bar.text.length);
    state.bars.push({ ...bar, box, chords });
    return box;
  }));
}

function changes() {
  const { chart } = state.take;
  if (!chart) return {};
  const texts = state.bars.map((bar) => bar.chords.value.trim()), found = {};
  if (texts.some((text, index) => text !== chart.bars[index].text)) found.bars = texts;
  const bpm = Number(find(".ag-bpm").value.replace(",", "."));
  if (bpm !== chart.bpm) found.bpm = bpm;
  if (find(".ag-key").value.trim() !== chart.key) found.key = find(".ag-key").value.trim();
  return found;
}

function changed() {
  const found = changes();
  state.bars.forEach((bar, index) => {
    bar.box.classList.toggle("ag-edited", bar.chords.value.trim() !== state.take.chart.bars[index].text);
    bar.box.style.setProperty("--signs", bar.chords.value.length);
  });
  find(".ag-apply").hidden = !Object.keys(found).length;
  find(".ag-apply").textContent = found.bars ? "Play these chords" : "Play it like this";
}

// Tracks

function showTracks() {
  find(".ag-rows").replaceChildren(...state.take.tracks.map((track, index) => {
    const level = player.level(track.name), row = make("div", { className: "ag-row" });
    const toggle = (what, text) => {
      const button = make("button", { type: "button", textContent: text, ariaPressed: String(level[what]) });
      button.setAttribute("aria-label", `${text} ${track.title}`);
      button.onclick = () => {
        player.set(track.name, { [what]: !level[what] });
        button.ariaPressed = String(level[what]);
      };
      return button;
    };
    const volume = make("input", { type: "range", min: 0, max: 1.5, step: 0.01, value: level.volume });
    volume.setAttribute("aria-label", `Volume of ${track.title}`);
    volume.oninput = () => player.set(track.name, { volume: Number(volume.value) });
    row.style.setProperty("--own", COLOURS[index % COLOURS.length]);
    row.append(
      make("div", { className: "ag-name" }, track.title),
      make("div", { className: "ag-knobs" }, toggle("mute", "Mute"), toggle("solo", "Solo"), volume),
      make("canvas"),
    );
    return row;
  }));
}

function draw() {
  find(".ag-rows").querySelectorAll("canvas").forEach((canvas, index) => {
    drawWave(canvas, state.buffers[index], COLOURS[index % COLOURS.length]);
  });
  drawSpectrogram(find(".ag-spectrogram"), state.buffers);
  showPart();
}

// A part is marked by drawing over the waves; a click goes there.
function marking(tracks) {
  let from = null;
  const place = (event) => {
    const { left, width } = find(".ag-rows canvas").getBoundingClientRect();
    return player.seconds * Math.min(1, Math.max(0, (event.clientX - left) / width));
  };
  tracks.addEventListener("pointerdown", (event) => {
    if (event.target.tagName !== "CANVAS" || !player.seconds) return;
    from = { time: place(event), x: event.clientX };
    event.target.setPointerCapture(event.pointerId);
  });
  tracks.addEventListener("pointermove", (event) => {
    if (!from || Math.abs(event.clientX - from.x) < 6) return;
    const to = place(event);
    state.part = snapped(Math.min(from.time, to), Math.max(from.time, to));
    showPart();
  });
  tracks.addEventListener("pointerup", (event) => {
    if (from && Math.abs(event.clientX - from.x) < 6) {
      player.seek(from.time);
      tick();
    }
    from = null;
    showScope();
  });
  tracks.addEventListener("pointercancel", () => { from = null; });
}

// To whole bars where there are some, and never shorter than half a second.
function snapped(start, stop) {
  const near = (time, edges) => edges.reduce((best, edge) => (Math.abs(edge - time) < Math.abs(best - time) ? edge : best));
  if (state.bars.length > 1) {
    start = near(start, state.bars.map((bar) => bar.start));
    stop = near(stop, state.bars.filter((bar) => bar.end > start).map((bar) => bar.end));
  }
  return [start, Math.min(player.seconds, Math.max(stop, start + 0.5))];
}

function showPart() {
  const over = find(".ag-over"), canvas = find(".ag-rows canvas"), part = find(".ag-part");
  if (!canvas) return;
  over.style.left = `${canvas.offsetLeft}px`;
  over.style.width = `${canvas.clientWidth}px`;
  part.hidden = !state.part;
  if (!state.part) return;
  part.style.left = `${(100 * state.part[0]) / player.seconds}%`;
  part.style.width = `${(100 * (state.part[1] - state.part[0])) / player.seconds}%`;
}

// Another take

function showScope() {
  const { stems } = state.take;
  if (!stems.includes(state.scope)) state.scope = "";
  const options = [["", stems.length ? "Everything" : "The band"], ...stems.map((stem) => [stem, `Only ${stem}`])];
  find(".ag-scope").replaceChildren(...options.map(([name, text]) => {
    const button = make("button", { type: "button", textContent: text, ariaPressed: String(name === state.scope) });
    button.onclick = () => { state.scope = name; showScope(); };
    return button;
  }));
  if (!stems.length) find(".ag-scope").replaceChildren();
  const hint = find(".ag-hint");
  if (!state.part) {
    hint.textContent = "Draw over a wave to change only that part.";
  } else {
    const clear = make("button", { type: "button", textContent: "✕" });
    clear.setAttribute("aria-label", "Play the whole song anew");
    clear.onclick = () => { state.part = null; showPart(); showScope(); };
    hint.replaceChildren(`Only ${clock(state.part[0])} to ${clock(state.part[1])} `, clear);
  }
}

function another({ whole = false, sameSeed = false } = {}) {
  if (state.busy) return;
  const seed = sameSeed ? state.take.seed : Number(find(".ag-seed").value);
  const wish = { number: state.take.number, seed, prompt: find(".ag-prompt").value.trim(), ...changes() };
  if (!whole && state.scope) wish.stem = state.scope;
  if (!whole && state.part) wish.part = state.part;
  busy(true);
  say("");
  trigger("take", wish);
}

async function download() {
  const button = find(".ag-download");
  button.disabled = true;
  button.textContent = "Packing …";
  try {
    const packed = await server.download([props.value.key, state.take.number, find(".ag-bits").value]);
    if (packed.error) throw Error(packed.error);
    make("a", { href: packed.url, download: decodeURIComponent(packed.url.split("/").pop()) }).click();
  } catch (error) {
    say(error.message || "The download failed. Please try again.");
  } finally {
    button.disabled = false;
    button.textContent = "Download";
  }
}

function busy(on) {
  state.busy = on;
  for (const name of [".ag-another", ".ag-apply"]) find(name).disabled = on;
}

function say(text) {
  find(".ag-said").textContent = text;
}

// The clock

function tick() {
  const at = player.now();
  if (player.playing && at >= player.seconds) player.pause();
  const canvas = find(".ag-rows canvas");
  find(".ag-clock").textContent = `${clock(at)} / ${clock(player.seconds)}`;
  find(".ag-head").style.left = `${player.seconds ? (100 * at) / player.seconds : 0}%`;
  find(".ag-play").textContent = player.playing ? "❚❚" : "▶";
  find(".ag-play").setAttribute("aria-label", player.playing ? "Pause" : "Play");
  desk.dataset.at = at.toFixed(2);
  let sounding = null;
  for (const bar of state.bars) {
    const on = at >= bar.start && at < bar.end;
    if (on !== bar.box.classList.contains("ag-now")) bar.box.classList.toggle("ag-now", on);
    if (on) sounding = bar;
  }
  if (player.playing && sounding && sounding !== state.sounding) follow(sounding.box);
  state.sounding = sounding;
  cancelAnimationFrame(state.frame);
  if (player.playing && canvas) state.frame = requestAnimationFrame(tick);
}

// Keep the bar that sounds in sight, without moving the page.
function follow(box) {
  const row = find(".ag-bars");
  if (document.activeElement?.closest?.(".ag-bars")) return;
  row.scrollTo({ left: box.offsetLeft - row.clientWidth / 3, behavior: "smooth" });
}

function update() {
  const { value } = props;
  desk.hidden = !value;
  if (!value || value.shown === state.shown) return;
  if (!desk.firstChild) build();
  state.shown = value.shown;
  busy(false);
  const known = value.takes.find((take) => take.number === state.take?.number && take.tracks[0].url === state.take.tracks[0].url);
  const news = value.takes.find((take) => take.number === value.current);
  state.before = value.takes.find((take) => take.number === state.before?.number) ?? null;
  if (!news && known) return; // a message alone: what was edited stays
  const next = news ?? known ?? value.takes.at(-1);
  state.before = known && known !== next ? known : state.before;
  if (state.take && !known) Object.assign(state, { part: null, before: null });
  state.take = next;
  showTake();
  if (news) desk.scrollIntoView({ block: "start", behavior: "smooth" });
}

watch("value", update);
update();

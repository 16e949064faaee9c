// Tracks that play together, and the microphone.
import { make } from "./api.js";

let context, playing = null;
const audio = () => (context ??= new AudioContext());

export class Mixer {
  constructor(shown, url) {
    this.tracks = shown.tracks; this.seconds = shown.seconds; this.offset = 0; this.sources = []; this.solo = new Set(); this.mute = new Set();
    this.button = make("button", { type: "button", className: "main", textContent: "play" });
    this.button.addEventListener("click", () => this.sources.length ? this.pause() : this.play());
    this.time = make("span", { className: "note" });
    this.seek = make("input", { type: "range", min: 0, max: this.seconds, step: 0.01, value: 0, ariaLabel: "Place in time" });
    this.seek.addEventListener("input", () => this.go(+this.seek.value));
    if (this.tracks.length > 1) this.mute.add(this.tracks[0]);  // what the others add up to
    this.rows = this.tracks.map(track => this.row(track, url));
    this.element = make("div", { className: "wide mixer" }, make("div", { className: "tools" }, this.button, this.time), this.seek, ...this.rows);
    this.url = url;
    this.show();
  }

  row(track, url) {
    const picture = make("div", { className: "sonogram", title: "click to go there" }, make("img", { src: url(track.sonogram), alt: `Sonogram of ${track.name}` }));
    picture.addEventListener("click", event => this.go((event.offsetX / picture.clientWidth) * this.seconds));
    const toggle = (set, text) => {
      const button = make("button", { type: "button", textContent: text, ariaLabel: `${text} ${track.name}` });
      button.addEventListener("click", () => { set.has(track) ? set.delete(track) : set.add(track); this.show(); });
      return button;
    };
    track.buttons = { solo: toggle(this.solo, "solo"), mute: toggle(this.mute, "mute") };
    const tools = this.tracks.length > 1 ? make("div", { className: "tools" }, track.buttons.solo, track.buttons.mute) : null;
    return make("div", { className: "track" }, make("div", {}, make("span", { className: "name", textContent: track.name }), tools), picture);
  }

  heard(track) { return this.solo.size ? this.solo.has(track) : !this.mute.has(track); }

  show() {
    this.tracks.forEach((track, i) => {
      track.buttons.solo.setAttribute("aria-pressed", this.solo.has(track));
      track.buttons.mute.setAttribute("aria-pressed", this.mute.has(track));
      this.rows[i].classList.toggle("silent", !this.heard(track));
      if (track.gainNode) track.gainNode.gain.value = this.heard(track) ? track.gain : 0;
    });
    const at = this.at();
    this.rows.forEach(row => row.querySelector(".sonogram").style.setProperty("--played", Math.min(1, at / this.seconds)));
    this.seek.value = at;
    this.time.textContent = `${at.toFixed(1)} of ${this.seconds.toFixed(1)} s`;
  }

  at() { return this.sources.length ? Math.min(this.seconds, this.offset + audio().currentTime - this.since) : this.offset; }

  async play() {
    playing?.pause();
    playing = this;
    this.button.disabled = true;
    await audio().resume();
    await Promise.all(this.tracks.map(async track => {
      track.buffer ??= await audio().decodeAudioData(await (await fetch(this.url(track.sound))).arrayBuffer());
    }));
    this.button.disabled = false;
    if (this.offset >= this.seconds - 0.05) this.offset = 0;
    this.since = audio().currentTime + 0.03;
    this.sources = this.tracks.map(track => {
      const source = audio().createBufferSource();
      track.gainNode = audio().createGain();
      source.buffer = track.buffer;
      source.connect(track.gainNode).connect(audio().destination);
      source.start(this.since, this.offset);
      return source;
    });
    this.button.textContent = "pause";
    const follow = () => {
      if (!this.sources.length) return;
      this.show();
      if (this.at() >= this.seconds) this.pause(); else requestAnimationFrame(follow);
    };
    follow();
  }

  pause() {
    this.offset = Math.max(0, this.at());
    for (const source of this.sources) source.stop();
    this.sources = [];
    this.button.textContent = "play";
    this.show();
  }

  async go(seconds) {
    const was = this.sources.length;
    if (was) this.pause();
    this.offset = Math.max(0, Math.min(seconds, this.seconds));
    this.show();
    if (was) await this.play();
  }
}

// The microphone as WAV: `heard` is called when samples have come, `take` gives those since it was called last.
export class Recorder {
  async start(heard = () => {}) {
    if (!navigator.mediaDevices) throw new Error("the browser gives no microphone to this address; open the studio as http://127.0.0.1:…");
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
    } catch (error) { throw new Error(`no microphone (${error.message}); allow it, or drop a recording.`); }
    await audio().resume();
    await audio().audioWorklet.addModule("static/recorder-worklet.js");
    this.rate = audio().sampleRate; this.parts = []; this.length = 0;
    this.node = new AudioWorkletNode(audio(), "recorder");
    this.node.port.onmessage = ({ data }) => {
      this.parts.push(data); this.length += data.length;
      while (this.length - this.parts[0].length > 600 * this.rate) this.length -= this.parts.shift().length;
      heard();
    };
    this.source = audio().createMediaStreamSource(this.stream);
    this.source.connect(this.node);
  }

  get seconds() { return this.length / this.rate; }

  take() {
    const wanted = this.length, samples = new Int16Array(wanted);
    let at = 0;
    for (const part of this.parts) for (const sample of part) samples[at++] = Math.round(32767 * Math.max(-1, Math.min(1, sample)));
    this.parts = []; this.length = 0;
    const head = new DataView(new ArrayBuffer(44)), text = (place, word) => [...word].forEach((letter, i) => head.setUint8(place + i, letter.charCodeAt(0)));
    text(0, "RIFF"); head.setUint32(4, 36 + 2 * wanted, true); text(8, "WAVEfmt "); head.setUint32(16, 16, true);
    head.setUint16(20, 1, true); head.setUint16(22, 1, true); head.setUint32(24, this.rate, true); head.setUint32(28, 2 * this.rate, true);
    head.setUint16(32, 2, true); head.setUint16(34, 16, true); text(36, "data"); head.setUint32(40, 2 * wanted, true);
    return new Blob([head, samples], { type: "audio/wav" });
  }

  stop() {
    this.stream?.getTracks().forEach(track => track.stop());
    this.source?.disconnect();
  }
}

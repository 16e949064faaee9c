// The page: a tab for each kind of system; in it what is given, the settings, and the results.
import { ask, job, make, upload } from "./api.js";
import { Controls } from "./controls.js";
import { Listening, clock } from "./listen.js";
import { facts, follow } from "./results.js";
import { Mixer, Recorder } from "./sound.js";
import { Stage } from "./stage.js";

const TABS = { restore: "Denoise, enhance", remove: "Remove", contour: "Contour", split: "Split", separate: "Separate", recognise: "Recognise", force: "Forces" };
const FIRST = { restore: "rof", remove: "inpaint_patches", contour: "segment", split: "split_rof", separate: "hpss" };
const SOUND = ["separate", "recognise"];
const fault = document.querySelector("#fault");

// A message for what goes wrong in an action.
function told(action) {
  return async (...given) => {
    fault.hidden = true;
    try { return await action(...given); } catch (error) { fault.textContent = error.message; fault.hidden = false; }
  };
}

function picker(text, take, more = {}) {
  const input = make("input", { type: "file", ...more });
  input.addEventListener("change", async () => { const files = [...input.files]; input.value = ""; if (files.length) await take(files); });
  return make("label", { className: "button filler" }, text, input);
}

function droppable(element, take) {
  for (const name of ["dragover", "dragleave", "drop"]) element.addEventListener(name, event => {
    event.preventDefault();
    element.classList.toggle("over", name === "dragover");
    if (name === "drop" && event.dataTransfer.files.length) take([...event.dataTransfer.files]);
  });
}

// A formula with subscripts: min_u, W_{jk}.
function indices(text) {
  return text.split(/_(\{.*?\}|[\p{L}\p{N}])/u).map((part, i) => i % 2 ? make("sub", { textContent: part.replace(/[{}]/g, "") }) : part);
}

// An experiment is a system too, that begins with other settings.
const keyOf = system => system.experiment ?? system.name;
const entry = system => make("option", { value: keyOf(system), textContent: system.title });

class Bench {
  constructor(tab, systems, limits) {
    Object.assign(this, { tab, systems, limits, file: null, stage: null, songs: 0 });
    this.results = make("div", { className: "results", ariaLabel: "Results" });
    this.given = make("div");
    this.element = make("div", { role: "tabpanel", id: `panel-${tab}`, hidden: true }, make("div", { className: "bench" }, make("div", {}, this.source(), this.given), this.side(), this.results));
    this.element.setAttribute("aria-labelledby", `tab-${tab}`);
  }

  source() {
    const sound = SOUND.includes(this.tab), take = told(files => this.open(files[0]));
    const most = sound ? `up to ${this.limits.minutes} minutes` : `up to ${this.limits.megabytes} MB`;
    const drop = make("div", { className: "drop" }, `Drop a ${sound ? "recording" : "picture"} here, `, picker("choose one", take, { accept: sound ? "audio/*,video/*" : "image/*,.tif,.tiff" }));
    if (sound) drop.append(this.recorder());
    drop.append(make("p", { className: "note", textContent: `${most}; it stays on this machine.` }));
    droppable(drop, take);
    return make("div", {}, this.tab === "recognise" ? this.library() : null, this.drop = drop);
  }

  recorder() {
    const record = make("button", { type: "button", textContent: "record" }), time = make("span", { className: "recording" });
    let recorder = null, timer;
    record.addEventListener("click", told(async () => {
      if (recorder) {
        const blob = recorder.take();
        recorder.stop(); recorder = null; clearInterval(timer);
        record.textContent = "record"; time.textContent = "";
        await this.open(new File([blob], "recording.wav"));
        return this.tab === "recognise" ? this.run() : undefined;
      }
      const next = new Recorder();
      await next.start();
      recorder = next;
      record.textContent = "stop recording";
      timer = setInterval(() => { time.textContent = ` ● ${recorder.seconds.toFixed(1)} s`; }, 100);
    }));
    const parts = make("span", {}, " or ", record, time);
    if (this.tab === "recognise") parts.append(this.listener());
    return parts;
  }

  listener() {
    const listen = make("button", { type: "button", textContent: "listen all day" }), time = make("span", { className: "recording" });
    let listening = null;
    listen.addEventListener("click", told(async () => {
      if (listening) return listening.stop();
      listening = new Listening(this.results, seconds => { time.textContent = ` ● ${clock(seconds)}`; });
      listen.textContent = "stop listening";
      try { await listening.run(); } finally {
        listening = null; listen.textContent = "listen all day"; time.textContent = "";
      }
    }));
    return make("span", {}, " or ", listen, time);
  }

  library() {
    const words = make("p", { className: "note", textContent: this.limits.library ? `the library is ${this.limits.library}; songs that you add make one of your own` : "first give it songs: they become its library" });
    const bar = make("progress", { hidden: true, ariaLabel: "Songs into the library" }), stop = make("button", { type: "button", textContent: "stop", hidden: true });
    let halted = false, halt = new AbortController();
    stop.addEventListener("click", () => { halted = true; halt.abort(); });
    const add = told(async files => {
      const songs = files.filter(file => /^(audio|video)\//.test(file.type) || /\.(wav|flac|ogg|mp3|m4a|aac|aiff?|opus)$/i.test(file.name)), faults = [];
      if (!songs.length) throw new Error("none of these files is a recording.");
      halted = false; halt = new AbortController();
      Object.assign(bar, { hidden: false, max: songs.length, value: 0 }); stop.hidden = false;
      for (const [i, song] of songs.entries()) {
        if (halted) break;
        words.textContent = `${i} of ${songs.length} songs: ${song.name}`;
        try {
          const { file } = await upload(song, song.name);
          await job({ do: "add", file }, () => {}, halt.signal);
          this.songs++;
        } catch (error) { if (error.name !== "AbortError") faults.push(error.message); }
        bar.value = i + 1;
      }
      bar.hidden = stop.hidden = true;
      words.textContent = `${this.songs} song${this.songs === 1 ? "" : "s"} in your library`;
      if (faults.length) throw new Error(faults.join(" "));
    });
    const folder = picker("a folder of songs", add, { webkitdirectory: true }), several = picker("songs", add, { multiple: true, accept: "audio/*" });
    return make("div", { className: "drop small" }, folder, several, bar, stop, words);
  }

  side() {
    this.menu = make("select", { ariaLabel: "System" }, ...this.systems.map(entry));
    this.menu.value = this.systems.some(one => one.name === FIRST[this.tab]) ? FIRST[this.tab] : this.systems[0].name;
    this.about = make("div"); this.setting = make("div");
    this.menu.addEventListener("change", () => this.choose());
    const go = make("button", { type: "button", className: "main", textContent: "run" });
    go.addEventListener("click", told(() => this.run()));
    const buttons = make("div", { className: "tools" }, go);
    if (this.tab === "split") {
      const all = make("button", { type: "button", textContent: "all models side by side" });
      all.addEventListener("click", told(() => this.all()));
      buttons.append(all);
    }
    this.choose();
    const settings = make("details", { open: innerWidth > 820 }, make("summary", { textContent: "settings" }), this.about, this.setting);
    return make("aside", { className: "panel", ariaLabel: "Settings" }, this.menu, buttons, settings);
  }

  get system() { return this.systems.find(one => keyOf(one) === this.menu.value); }

  add(system) {
    this.systems.push(system);
    this.menu.append(entry(system));
    this.menu.value = keyOf(system);
    this.choose();
  }

  choose() {
    const { system } = this;
    this.controls = new Controls(system);
    this.about.replaceChildren(...[["note", system.about], ["energy", system.energy], ["fault", system.fault]].filter(([, text]) => text).map(([className, text]) => make("p", { className }, ...(className === "energy" ? indices(text) : [text]))));
    this.setting.replaceChildren(this.controls.element);
  }

  async open(file) {
    if (file.size > this.limits.megabytes * 2 ** 20) throw new Error(`${file.name}: the file is larger than ${this.limits.megabytes} MB.`);
    this.given.replaceChildren(make("p", { className: "note", textContent: `reading ${file.name} …` }));
    this.file = this.stage = null;
    try {
      const { file: number } = await upload(file, file.name), found = await job({ do: "look", file: number });
      const wanted = SOUND.includes(this.tab) ? "recording" : "picture";
      if (found.kind !== wanted) throw new Error(`${file.name}: expected a ${wanted}, got a ${found.kind}.`);
      this.file = number;
      this.drop.classList.add("small");
      const about = facts([["file", file.name], ...found.facts]);
      if (wanted === "recording") return this.given.replaceChildren(about, new Mixer(found.shown[0], found.url).element);
      this.stage = new Stage(found.url(found.shown[0].file), found.width, found.height, this.tab);
      if (this.tab !== "remove" && this.tab !== "contour") { this.stage.canvas.remove(); return this.given.replaceChildren(about, this.stage.element); }
      if (this.tab === "remove") {
        const take = told(files => this.stage.addMask(files[0]));
        this.stage.tools.append(picker("drop a mask on the picture, or choose one", take, { accept: "image/*" }));
        droppable(this.stage.element, take);
      } else this.stage.changed = () => this.run();
      this.given.replaceChildren(about, this.stage.tools, this.stage.element);
    } catch (error) { this.given.replaceChildren(); throw error; }
  }

  // What is asked of a system: the file, the settings, and what was painted or placed.
  async asked({ name, experiment } = this.system, settings = this.controls.values) {
    if (!this.file) throw new Error(`drop a ${SOUND.includes(this.tab) ? "recording" : "picture"} first.`);
    const asked = { do: "run", task: name, experiment, file: this.file, settings: { ...settings } };
    if (this.tab === "remove") {
      const hole = await this.stage.hole();
      if (!hole) throw new Error("paint what shall go first, or drop a mask.");
      asked.hole = (await upload(hole, "hole.png")).file;
    }
    if (this.tab === "contour") {
      if (!this.stage.shapes.length) throw new Error("place a contour first: click the middle of an object and drag.");
      asked.shapes = this.stage.shapes;
    }
    return asked;
  }

  async run() {
    const title = this.menu.selectedOptions[0].textContent;
    return follow(this.results, title, await this.asked(), this.stage?.image.src);
  }

  async all() {
    const list = make("div", { className: "side-by-side" });
    const asked = await Promise.all(this.systems.map(one => this.asked(one, {})));
    this.results.prepend(list);
    await Promise.all(asked.map((one, i) => follow(list, this.systems[i].title, one, this.stage.image.src)).reverse());
  }
}

const { systems, limits } = await told(() => ask("api/systems"))() ?? { systems: [] };
const main = document.querySelector("main"), tablist = document.querySelector("[role=tablist]"), benches = {};
const kinds = Object.keys(TABS).filter(kind => systems.some(one => one.tab === kind));

function select(kind, focus = false) {
  for (const tab of tablist.children) {
    const mine = tab.id === `tab-${kind}`;
    tab.setAttribute("aria-selected", mine); tab.tabIndex = mine ? 0 : -1;
    if (mine && focus) tab.focus();
    if (mine) tab.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
  for (const [other, bench] of Object.entries(benches)) bench.element.hidden = other !== kind;
  fault.hidden = true;
  history.replaceState(null, "", `${location.pathname}#${kind}`);
}

for (const kind of kinds) {
  const tab = make("button", { type: "button", role: "tab", id: `tab-${kind}`, textContent: TABS[kind] });
  tab.setAttribute("aria-controls", `panel-${kind}`);
  tab.addEventListener("click", () => select(kind));
  tablist.append(tab);
  benches[kind] = new Bench(kind, systems.filter(one => one.tab === kind), limits);
  main.append(benches[kind].element);
}
tablist.addEventListener("keydown", event => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key], at = kinds.findIndex(kind => document.querySelector(`#tab-${kind}`) === document.activeElement);
  if (step) select(kinds[(at + step + kinds.length) % kinds.length], true);
});
document.querySelector("#starting").remove();
const experiment = new URLSearchParams(location.search).get("experiment"), wanted = location.hash.slice(1);
if (kinds.length) select(kinds.includes(wanted) ? wanted : kinds[0]);
if (experiment) await told(async () => {
  const system = await ask(`api/experiments/${encodeURIComponent(experiment)}`);
  select(system.tab);
  benches[system.tab].add(system);
  document.documentElement.dataset.experiment = experiment;
})();
